"""`headgate new upstream`: what it prints is valid as it stands, for every provider."""

from pathlib import Path

import pytest
import yaml

from headgate.cli.fail import Failure
from headgate.cli.starting import upstream
from headgate.cli.validating import validate
from headgate.providers.registry import BUILT_IN


def printed(
    capsys: pytest.CaptureFixture[str],
    provider: str,
    name: str | None = None,
    hostname: str | None = None,
    options: tuple[str, ...] = (),
) -> str:
    upstream(provider, name, "shop", hostname, options)
    return capsys.readouterr().out


@pytest.mark.parametrize("provider", sorted(BUILT_IN))
def test_it_is_valid(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    (tmp_path / "it.yaml").write_text(printed(capsys, provider))
    monkeypatch.setenv("A_KEY", "k")
    validate(tmp_path, [f"shop/{provider}-key/apiKey=env:A_KEY"])
    assert "nothing wrong; 4 objects" in capsys.readouterr().out


@pytest.mark.parametrize("provider", sorted(BUILT_IN))
def test_its_objects_belong_together(capsys: pytest.CaptureFixture[str], provider: str) -> None:
    documents = list(yaml.safe_load_all(printed(capsys, provider, "mine")))
    assert [each["kind"] for each in documents] == ["UpstreamService", "RetryPolicy", "CircuitBreaker", "RateLimit"]
    assert {each["metadata"]["name"] for each in documents} == {"mine"}
    assert {each["metadata"]["namespace"] for each in documents} == {"shop"}
    assert documents[0]["spec"]["provider"] == provider
    for policy in documents[1:]:
        assert policy["spec"]["targetRefs"] == [{"kind": "UpstreamService", "name": "mine"}]


def test_a_host_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    spec = yaml.safe_load(printed(capsys, "generic", "billing", "api.billing.example").split("---")[0])["spec"]
    assert spec["hostname"] == "api.billing.example"


def test_what_to_do_next_names_the_secret(capsys: pytest.CaptureFixture[str]) -> None:
    upstream("generic", "4us", "shop", "api.billing.example", [])
    said = capsys.readouterr().err
    assert "--secret shop/4us-key/apiKey=env:MY_4US_API_KEY" in said
    assert "save this" not in said, "its output went to a file"


def test_who_only_looks_at_it_is_told_how_to_save_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    upstream("gemini", None, "shop", None, [])
    said = capsys.readouterr().err
    assert "  mkdir -p apis && headgate new upstream gemini --provider gemini -n shop > apis/gemini.yaml\n" in said
    assert "  headgate run -f apis --secret shop/gemini-key/apiKey=env:GEMINI_API_KEY\n" in said
    upstream("supabase", "base", "shop", None, ["project=abcdefghijklmnopqrst"])
    assert "-n shop --option project=abcdefghijklmnopqrst > apis/base.yaml\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("gemni", None, "shop", None, ()), "there is no provider gemni: did you mean gemini?"),
        (("x", None, "shop", None, ()), "there is no provider x: use one of "),
        (("gemini", "My.API", "shop", None, ()), "the name My.API becomes part of a host name"),
        (("gemini", None, "a_b", None, ()), "the namespace a_b becomes part of a host name"),
        (("generic", None, "shop", "https://x.example/", ()), "without scheme, port and path"),
        (("generic", None, "shop", None, ("a=b",)), "--option a=b: the provider generic takes none"),
    ],
)
def test_mistakes(arguments: tuple[str, str | None, str, str | None, tuple[str, ...]], words: str) -> None:
    with pytest.raises(Failure, match=words.replace("?", r"\?")) as raised:
        upstream(*arguments)
    assert raised.value.code == 2
