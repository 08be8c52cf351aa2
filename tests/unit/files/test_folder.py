"""A folder as one world: what files declare, what is wrong with them, and what stays in force meanwhile."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from headgate.api.retrypolicy import RetryPolicy
from headgate.files.folder import MAX_BYTES, Folder, FolderProblem, World
from headgate.files.objects import Parsed
from headgate.files.secrets import SecretProblem, option
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Broken

CANARY = "canary-3f9a"
UPSTREAM = """\
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {{name: {name}}}
spec: {{hostname: {host}}}
"""


def upstream(name: str, host: str = "api.example.com") -> str:
    return UPSTREAM.format(name=name, host=host)


def ref(name: str, kind: str = "UpstreamService") -> ObjectRef:
    return ObjectRef(kind, "default", name)


def problems(world: World) -> list[str]:
    return [str(problem) for problem in world.problems]


def test_files_below_the_folder_and_nothing_hidden(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.yaml").write_text(upstream("a"))
    (tmp_path / "sub" / "b.yml").write_text(upstream("b"))
    for ignored in ("c.txt", ".d.yaml", ".git/e.yaml", "kustomization.yaml", "f.yaml~"):
        (tmp_path / ignored).write_text("nothing: here")
    world = Folder(tmp_path).read()
    assert sorted(world.items) == [ref("a"), ref("b")]
    assert (world.problems, world.notes, world.files) == ((), (), 2)
    assert world.items[ref("b")].where.start.file == "sub/b.yml"


def test_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(upstream("a"))
    assert list(Folder(tmp_path / "a.yaml").read().items) == [ref("a")]


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FolderProblem, match="is no folder: give -f a folder of YAML files"):
        Folder(tmp_path / "nowhere").read()


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    (tmp_path / "vast.yaml").touch()
    os.truncate(tmp_path / "vast.yaml", MAX_BYTES + 1)
    (tmp_path / "a.yaml").write_text(upstream("a"))
    world = Folder(tmp_path).read()
    assert list(world.items) == [ref("a")]
    assert problems(world) == [
        "endless.yaml:1 (document 1): the file can't be read: it is no regular file: take it out of the folder",
        "pipe.yaml:1 (document 1): the file can't be read: it is no regular file: take it out of the folder",
        "vast.yaml:1 (document 1): the file can't be read: it has more than 32 MB: split it, or take it out of the folder",
    ]


def test_a_bug_in_reading_costs_one_file_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text(upstream("a"))
    (tmp_path / "b.yaml").write_text(upstream("b"))
    folder = Folder(tmp_path)
    before = folder.read()

    def stumble(_documents: object) -> Parsed:
        raise ValueError(CANARY)

    monkeypatch.setattr("headgate.files.folder.parse", stumble)
    (tmp_path / "b.yaml").write_text(upstream("b", "changed.example.com"))
    world = folder.read()
    assert world.items == before.items
    assert problems(world) == [
        "b.yaml:1 (document 1): the file can't be read, which is a bug in Headgate (ValueError): report it with the file"
    ]


def test_a_file_that_is_emptied_takes_nothing_away(tmp_path: Path) -> None:
    """An editor that is slow, or finds the disk full, leaves it so. To remove is to delete, or to say something else."""
    path = tmp_path / "a.yaml"
    path.write_text(upstream("a"))
    folder = Folder(tmp_path)
    before = folder.read()
    for content in ("", "\n \n"):
        path.write_text(content)
        world = folder.read()
        assert world.items == before.items
        assert problems(world) == [
            "a.yaml:1 (document 1): the file is empty, and what it declared stays in force: delete the file to remove that"
        ]
    path.write_text("# nothing any more\n")
    assert (folder.read().items, folder.read().problems) == ({}, ())
    path.write_text("")
    assert (folder.read().items, folder.read().problems) == ({}, ())


def test_a_list_with_a_mistake_in_it_is_not_called_empty(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "apiVersion: headgate.dev/v1alpha1\nkind: RateLimit\nmetadata: {name: l}\nspec:\n"
        "  targetRefs: [{group: headgate.io, kind: UpstreamService, name: api}]\n"
        "  rules: [{name: x, limit: {requests: 0, interval: 1m}}]\n"
    )
    assert problems(Folder(tmp_path).read()) == [
        "a.yaml:5 (document 1): RateLimit default/l: spec.targetRefs[0].group: must be headgate.dev",
        "a.yaml:6 (document 1): RateLimit default/l: spec.rules[0].limit.requests: must be at least 1",
    ]


def test_a_mounted_config_map_is_seen_once_and_followed(tmp_path: Path) -> None:
    """Kubernetes mounts files as links into a hidden folder, and swaps the link to that."""
    for version, host in (("..1", "one.example"), ("..2", "two.example")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(upstream("a", host))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    folder = Folder(tmp_path)
    first = folder.read()
    assert first.files == 1
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    second = folder.read()
    assert second.problems == ()
    assert second.items[ref("a")].digest != first.items[ref("a")].digest


def test_linked_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    (other / "a.yaml").write_text(upstream("a"))
    (root / "link").symlink_to(other)
    (other / "loop").symlink_to(root)
    world = Folder(root).read()
    assert [item.where.start.file for item in world.items.values()] == ["link/a.yaml"]
    assert world.problems == ()


def test_the_first_of_two_with_one_name_counts(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(upstream("x", "first.example"))
    (tmp_path / "b.yaml").write_text("# a comment\n" + upstream("x", "second.example"))
    world = Folder(tmp_path).read()
    assert world.items[ref("x")].where.start.file == "a.yaml"
    assert problems(world) == [
        (
            "b.yaml:2 (document 1): UpstreamService default/x: is declared twice, first at a.yaml:1 (document 1), which "
            "counts: rename this one or take it out"
        )
    ]


def test_a_file_that_breaks_keeps_what_it_said(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(upstream("x") + "---\n" + upstream("y"))
    (tmp_path / "b.yaml").write_text(upstream("z"))
    folder = Folder(tmp_path)
    before = folder.read()
    (tmp_path / "a.yaml").write_text(upstream("x", "new.example") + "---\na: b: c\n")
    (tmp_path / "b.yaml").write_text(upstream("z", "new.example"))
    broken = folder.read()
    assert problems(broken) == [
        (
            "a.yaml:6 (document 2): YAML syntax error at column 5: mapping values are not allowed in this context: "
            "mend this line or the one above it"
        )
    ]
    assert {r: i.digest for r, i in broken.items.items() if r != ref("z")} == {
        r: i.digest for r, i in before.items.items() if r != ref("z")
    }
    assert broken.items[ref("z")].digest != before.items[ref("z")].digest
    (tmp_path / "a.yaml").write_text(upstream("x", "new.example"))
    mended = folder.read()
    assert sorted(mended.items) == [ref("x"), ref("z")]
    assert mended.problems == ()


def test_a_file_that_can_not_be_read_keeps_what_it_said(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(upstream("x"))
    folder = Folder(tmp_path)
    folder.read()
    path.unlink()
    path.symlink_to("nowhere")
    world = folder.read()
    assert problems(world) == ["a.yaml:1 (document 1): the file can't be read: No such file or directory"]
    assert ref("x") in world.items


def test_a_folder_inside_that_can_not_be_read_takes_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    folder = Folder(tmp_path)
    scan = os.scandir

    def refuse(error: OSError) -> Any:
        def scandir(path: Any = ".") -> Any:
            if os.fspath(path) == str(inside):
                raise error
            return scan(path)

        return scandir

    monkeypatch.setattr(os, "scandir", refuse(PermissionError(errno.EACCES, "Permission denied", str(inside))))
    with pytest.raises(FolderProblem, match=f"{inside} can't be read: Permission denied"):
        folder.read()
    monkeypatch.setattr(os, "scandir", refuse(FileNotFoundError(errno.ENOENT, "No such file", str(inside))))
    assert folder.read().problems == ()


def test_what_an_earlier_run_knew_stands_in_for_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(upstream("x"))
    known = Folder(tmp_path).read().items[ref("x")].manifest
    path.write_text("a: b: c\n")
    world = Folder(tmp_path, before={"a.yaml": [known]}).read()
    assert list(world.items) == [ref("x")]
    assert len(world.problems) == 1


def test_a_file_that_goes_takes_its_objects_along(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(upstream("x"))
    folder = Folder(tmp_path)
    folder.read()
    (tmp_path / "a.yaml").unlink()
    assert folder.read().items == {}


def test_an_object_that_says_something_wrong_is_broken_and_every_mistake_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        """\
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {name: x}
spec:
  hostname: https://api.example.com/v1
  port: "443"
  prot: https
  tls:
    mode: none
  timeouts: {request: 30}
  endpoints: 5
  sections:
  - matches:
    - pathPrefix: v1
  upgrades: [websockets]
  credentials:
  - name: key
    secretRef: {name: s}
    location: {header: {name: "x key"}}
"""
    )
    world = Folder(tmp_path).read()
    start = "UpstreamService default/x: spec."
    assert problems(world) == [
        (
            f"a.yaml:5 (document 1): {start}hostname: must be a host name or an IP address alone: without scheme, port, path or "
            "brackets"
        ),
        f'a.yaml:6 (document 1): {start}port: must be a whole number, not the text "443": take the quotes away',
        f"a.yaml:7 (document 1): {start}prot: there is no such field: did you mean port?",
        f"a.yaml:9 (document 1): {start}tls.mode: must be one of None, ServerOnly or ClientAndServer: did you mean None?",
        f"a.yaml:10 (document 1): {start}timeouts.request: must be a duration such as 500ms, 30s or 1m30s, not the number 30",
        f"a.yaml:11 (document 1): {start}endpoints: must be a list, not the number 5: begin each entry with a dash",
        f"a.yaml:13 (document 1): {start}sections[0].name: is missing: it has to be given",
        (
            f"a.yaml:14 (document 1): {start}sections[0].matches[0].pathPrefix: must be a path that begins with / and has no "
            "query, fragment or spaces"
        ),
        f"a.yaml:15 (document 1): {start}upgrades[0]: must be websocket",
        f"a.yaml:18 (document 1): {start}credentials[0].secretRef.key: is missing: it has to be given",
        (
            f"a.yaml:19 (document 1): {start}credentials[0].location.header.name: must be a header name: letters, digits and "
            "dashes, without a colon or spaces"
        ),
    ]
    content = world.items[ref("x")].content
    assert isinstance(content, Broken)
    assert content.message.startswith("a.yaml: spec.prot: there is no such field: did you mean port?; spec.hostname: ")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{hostname: a, port: 0}", "spec.port: must be at least 1"),
        ("{hostname: a, port: 70000}", "spec.port: must be at most 65535"),
        ("{hostname: a, port: 8.5}", "spec.port: must be a whole number, not the number 8.5"),
        ("{hostname: a, port: yes}", "spec.port: must be a whole number, not the boolean true"),
        (f"{{hostname: a, port: {CANARY}}}", "spec.port: must be a whole number, not text"),
        ("{hostname: ''}", "spec.hostname: must not be empty"),
        ("{hostname: a, tls: None}", "spec.tls: must be a mapping of fields, not text"),
        ("{hostname: a, dns: []}", "spec.dns: must be a mapping of fields, not a list"),
        ("{hostname: a, tls: {mode: 5}}", "spec.tls.mode: must be one of None, ServerOnly or ClientAndServer, not the number 5"),
        (
            "{hostname: a, endpoints: [{hostname: b}]}",
            "spec.endpoints: give hostname or endpoints, not both",
        ),
        ("{}", "spec.hostname: the generic provider has no host of its own: give hostname or endpoints"),
        (
            "{hostname: a, headers: {request: {set: [{name: x, value: {a: 1}}]}}}",
            "spec.headers.request.set[0].value: must be text, not a mapping",
        ),
        (
            "{hostname: a, headers: {request: {zzz: 1}}}",
            "spec.headers.request.zzz: there is no such field: it may have add, remove, set",
        ),
        (f"{{hostname: a, endpoints: [{', '.join(['{hostname: b}'] * 17)}]}}", "spec.endpoints: must have at most 16 entries, and has 17"),  # noqa: E501
    ],
)  # fmt: skip
def test_sentences(tmp_path: Path, spec: str, said: str) -> None:
    (tmp_path / "a.yaml").write_text(
        f"apiVersion: headgate.dev/v1alpha1\nkind: UpstreamService\nmetadata: {{name: x}}\nspec: {spec}\n"
    )
    assert problems(Folder(tmp_path).read()) == [f"a.yaml:4 (document 1): UpstreamService default/x: {said}"]


def test_null_is_the_same_as_left_out_and_status_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(upstream("x").rstrip() + "\nstatus: {anything: [goes]}\n")
    (tmp_path / "b.yaml").write_text(upstream("y").replace("}\n", ", port: null, tls: null, upgrades: null}\n", 2))
    world = Folder(tmp_path).read()
    assert problems(world) == []


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            "apiVersion: headgate.dev/v1alpha1\nkind: UpstreamServce\nmetadata: {name: x}",
            "2 (document 1): kind: there is no kind UpstreamServce in headgate.dev: did you mean UpstreamService?",
        ),
        (
            "apiVersion: headgate.dev/v1alpha1\nkind: Pod",
            ("2 (document 1): kind: there is no kind Pod in headgate.dev: the kinds are CircuitBreaker, IntegrationGateway, "
            "RateLimit, RetryPolicy, UpstreamService"),
        ),
        (
            "apiVersion: headgate.dev/v1\nkind: RateLimit",
            "1 (document 1): apiVersion: there is no version v1 of headgate.dev: write headgate.dev/v1alpha1",
        ),
        ("kind: RateLimit", "1 (document 1): apiVersion: is missing: give headgate.dev/v1alpha1"),
        ("apiVersion: v1", "1 (document 1): kind: is missing: every Kubernetes object needs it"),
        ("- 1", "1 (document 1): this is no Kubernetes object: begin it with apiVersion and kind"),
        (
            "apiVersion: headgate.dev/v1alpha1\nkind: RateLimit",
            "1 (document 1): metadata: is missing: give at least metadata.name",
        ),
        (
            "apiVersion: headgate.dev/v1alpha1\nkind: RateLimit\nmetadata: {}",
            "3 (document 1): metadata.name: is missing: it has to be given",
        ),
        (
            "apiVersion: headgate.dev/v1alpha1\nkind: RateLimit\nmetadata: {name: A b}",
            ("3 (document 1): metadata.name: must be text of lower-case letters, digits, dashes and dots, and begin and end "
            "with a letter or digit"),
        ),
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: 5}",
            "3 (document 1): metadata.namespace: must be text, and reads as a number or boolean here: put it in quotes",
        ),
    ],
)  # fmt: skip
def test_what_is_no_object(tmp_path: Path, document: str, said: str) -> None:
    (tmp_path / "a.yaml").write_text(document)
    (tmp_path / "b.yaml").write_text(upstream("sound"))
    world = Folder(tmp_path).read()
    assert problems(world) == [f"a.yaml:{said}"]
    assert list(world.items) == [ref("sound")]


def test_foreign_kinds_are_noted(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: v1\nkind: Pod\n")
    world = Folder(tmp_path).read()
    assert world.notes == (
        "a.yaml:1 (document 1): apps/v1 Deployment: left out, Headgate does not read this kind",
        "a.yaml:4 (document 2): v1 Pod: left out, Headgate does not read this kind",
    )
    assert world.problems == ()


def test_lists_are_unfolded_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        """\
apiVersion: v1
kind: List
items:
- apiVersion: headgate.dev/v1alpha1
  kind: RetryPolicy
  metadata: {name: sound}
  spec: {targetRefs: [{kind: UpstreamService, name: x}]}
- apiVersion: headgate.dev/v1alpha1
  kind: RetryPolicy
  metadata: {name: wrong}
  spec:
    attempts: many
    targetRefs: [{kind: UpstreamService, name: x}]
"""
    )
    world = Folder(tmp_path).read()
    assert isinstance(world.items[ref("sound", "RetryPolicy")].content, RetryPolicy)
    assert problems(world) == [
        "a.yaml:12 (document 1, item 2): RetryPolicy default/wrong: spec.attempts: must be a whole number, not text"
    ]


def test_labels_of_namespaces(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a}}\n")
    item = Folder(tmp_path).read().items[ObjectRef("Namespace", "", "shop")]
    assert item.content == {"team": "a", "kubernetes.io/metadata.name": "shop"}


def secret(body: str) -> str:
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{body}\n"


def values(world: World, name: str = "s") -> dict[str, bytes]:
    content = world.items[ref(name, "Secret")].content
    assert not isinstance(content, Broken)
    return {key: value.reveal() for key, value in content.items()}  # type: ignore[union-attr]


def test_secrets_in_both_forms(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(secret("data: {a: aGk=, b: aGk=}\nstringData: {b: plain}"))
    world = Folder(tmp_path).read()
    assert values(world) == {"a": b"hi", "b": b"plain"}
    assert world.items[ref("s", "Secret")].manifest == {}
    assert "hi" not in repr(world)
    assert "plain" not in repr(world)


def test_config_maps(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {ca.crt: pem}\nbinaryData: {b: aGk=}\n"
    )
    content = Folder(tmp_path).read().items[ref("c", "ConfigMap")].content
    assert {key: value.reveal() for key, value in content.items()} == {"ca.crt": b"pem", "b": b"hi"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (f"data: {{k: '{CANARY}!'}}", "4 (document 1): Secret default/s: data.k: is not base64: encode it, or put the plain text under stringData"),  # noqa: E501
        ("stringData: {k: 31337}", "4 (document 1): Secret default/s: stringData.k: must be text: put it in quotes"),
        (f"stringData: [{CANARY}]", "4 (document 1): Secret default/s: stringData: must be a mapping of keys to text"),
        (f"stringData: {{'{CANARY} x': a}}", "4 (document 1): Secret default/s: stringData: a key may have letters, digits, dashes, dots and underscores only: rename it"),  # noqa: E501
    ],
)  # fmt: skip
def test_a_wrong_secret_stays_as_it_was_and_is_never_shown(tmp_path: Path, body: str, said: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(secret("stringData: {k: before}"))
    folder = Folder(tmp_path)
    folder.read()
    path.write_text(secret(body) + "---\n" + upstream("x"))
    world = folder.read()
    assert problems(world) == [f"a.yaml:{said}"]
    assert CANARY not in repr(world)
    assert "31337" not in repr(world)
    assert values(world) == {"k": b"before"}
    assert ref("x") in world.items
    assert ref("s", "Secret") not in Folder(tmp_path).read().items


def test_secrets_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key"
    key.write_text("from-file\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.yaml").write_text(secret("stringData: {a: 'in the file', b: kept}"))
    monkeypatch.setenv("HG_KEY", "from-env")
    options = [option("default/s/a=env:HG_KEY"), option(f"shop/other/k=file:{key}")]
    read = Folder(folder, options)
    world = read.read()
    assert values(world) == {"a": b"from-env", "b": b"kept"}
    other = world.items[ObjectRef("Secret", "shop", "other")]
    assert {k: v.reveal() for k, v in other.content.items()} == {"k": b"from-file"}  # type: ignore[union-attr]
    key.unlink()
    later = read.read()
    assert later.items[other.ref].digest == other.digest
    assert problems(later) == [
        (
            f"--secret: Secret shop/other: k: --secret shop/other/k: {key} can't be read: No such file or "
            "directory; the value from before stays"
        )
    ]


def test_a_secret_from_a_pipe_is_read_once(tmp_path: Path) -> None:
    """A shell's `file:<(...)`. To read it again would wait for ever, or find it empty."""
    reading, writing = os.pipe()
    os.write(writing, b"from-a-pipe\n")
    os.close(writing)
    folder = Folder(tmp_path, [option(f"default/s/k=file:/dev/fd/{reading}")])
    for _ in range(2):
        world = folder.read()
        assert (values(world), world.problems) == ({"k": b"from-a-pipe"}, ())
    os.close(reading)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "--secret the value given: write it as NAMESPACE/NAME/KEY=env:VARIABLE or NAMESPACE/NAME/KEY=file:PATH"),
        (f"a/b/c={CANARY}", "--secret a/b/c: write it as NAMESPACE/NAME/KEY=env:VARIABLE or NAMESPACE/NAME/KEY=file:PATH"),
        ("a/b/c=env:HG_NOT_SET",
         "--secret a/b/c: the environment variable is not set: export it, and write its name after env: without $"),
        (f"a/b/c=file:{CANARY}", "--secret a/b/c: the file after file: can't be read: No such file or directory"),
        ("a/b/c=env:HG_EMPTY", "--secret a/b/c: the environment variable HG_EMPTY is empty: export it before the start"),
        ("a/b/c=file:/nowhere/at/all", "--secret a/b/c: /nowhere/at/all can't be read: No such file or directory"),
    ],
)  # fmt: skip
def test_secret_options_that_do_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    monkeypatch.setenv("HG_EMPTY", "")
    with pytest.raises(SecretProblem) as raised:
        Folder(tmp_path, [option(text)]).read()
    assert str(raised.value) == said


def test_annotations_and_comments_do_not_change_an_object(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(upstream("x"))
    folder = Folder(tmp_path)
    first = folder.read().items[ref("x")]
    path.write_text("# moved down\n\n" + upstream("x").replace("{name: x}", "{name: x, annotations: {a: b}}"))
    second = folder.read().items[ref("x")]
    assert second.digest == first.digest
    assert second.where.start.line == 3


def test_a_number_where_a_duration_has_to_be_given_is_told_what_a_duration_is(tmp_path: Path) -> None:
    """Whether the field may be left out or not."""
    rule = "{name: all, limit: {requests: 5, interval: 5}}"
    target = "targetRefs: [{kind: UpstreamService, name: x}]"
    text = f"apiVersion: headgate.dev/v1alpha1\nkind: RateLimit\nmetadata: {{name: x}}\nspec: {{{target}, rules: [{rule}]}}\n"
    (tmp_path / "a.yaml").write_text(text)
    (problem,) = Folder(tmp_path).read().problems
    words = "must be a duration such as 500ms, 30s or 1m30s, not the number 5"
    assert str(problem).endswith(f"spec.rules[0].limit.interval: {words}")
