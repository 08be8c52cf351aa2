"""A folder of YAML as one world: every object once, every problem with its place, and what was good of a broken file.

`Folder.read` goes to the disk each time and parses only the files whose bytes changed. It keeps what each file held
when it could last be read, so it belongs to one task; its results are frozen values that anyone may have.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from headgate.api.conditions import Reason
from headgate.files.document import Document, read
from headgate.files.objects import Data, Item, Parsed, data_digest, parse
from headgate.files.place import Place, Problem, Whereabouts, in_order
from headgate.files.secrets import SecretOption, SecretProblem, fetch
from headgate.model.refs import ObjectRef

_ENDINGS = (".yaml", ".yml")
#: Files that tools keep beside manifests and that declare nothing.
_TOOLS = frozenset({"kustomization.yaml", "kustomization.yml"})
#: No file of declarations is as large: thousands of objects fit in, and reading it takes seconds.
MAX_BYTES = 32 << 20
COMMAND_LINE = Place("--secret", 0)


class FolderProblem(Exception):
    """The folder itself can't be read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything that a folder declares at one moment. `files` counts the files read."""

    items: Mapping[ObjectRef, Item] = field(default_factory=lambda: MappingProxyType({}))
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    files: int = 0


@dataclass(frozen=True, slots=True)
class _File:
    digest: str
    parsed: Parsed
    #: The same file as it was when all of it could last be read: what counts while it can't.
    good: Parsed


class Folder:
    """One folder (or one file) of YAML. `before` has the manifests of an earlier run by file, for files broken since."""

    def __init__(
        self,
        root: Path,
        secrets: Sequence[SecretOption] = (),
        before: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    ) -> None:
        self.root = root
        self._secrets = tuple(secrets)
        self._before = before or {}
        self._files: dict[str, _File] = {}
        self._values: dict[SecretOption, Any] = {}

    def read(self) -> World:
        """The folder as it is now. FolderProblem if it is not there; anything less is in the World's problems."""
        found = {name: self._file(name, path) for name, path in sorted(discover(self.root))}
        self._files = found
        problems: list[Problem] = []
        notes: list[str] = []
        items: dict[ObjectRef, Item] = {}
        for file in found.values():
            problems += file.parsed.problems
            notes += file.parsed.notes
            for item in file.good.items:
                first = items.setdefault(item.ref, item)
                if first is not item:
                    problems.append(_twice(first, item))
        problems += self._add_secrets(items)
        return World(MappingProxyType(items), in_order(problems), tuple(notes), len(found))

    def _file(self, name: str, path: Path) -> _File:
        before = self._files.get(name)
        try:
            content = _content(path)
        except OSError as error:
            problem = Problem(Place(name, 1), f"the file can't be read: {error.strerror}")
            return _File("", Parsed(problems=(problem,)), before.good if before else self._earlier(name))
        digest = hashlib.sha256(content).hexdigest()
        if before is not None and before.digest == digest:
            return before
        held = before.good if before else self._earlier(name)
        if not content.strip() and held.items:  # cut short by who writes it, or by a full disk
            words = "the file is empty, and what it declared stays in force: delete the file to remove that"
            return _File(digest, Parsed(problems=(Problem(Place(name, 1), words),)), held)
        try:
            documents, unreadable = read(name, content)
            parsed = parse(documents)
        except Exception as bug:  # noqa: BLE001 - one file is never the end of a run; its text may hold secrets
            words = (
                f"the file can't be read, which is a bug in Headgate ({type(bug).__name__}): report it with the file"
            )
            unreadable, parsed = Problem(Place(name, 1), words), Parsed()
        if unreadable is not None:
            return _File(digest, Parsed(problems=(unreadable,)), held)
        good = parsed
        if parsed.kept and before is not None:
            # A Secret that says something wrong stays as it was.
            kept = tuple(item for item in before.good.items if item.ref in parsed.kept)
            good = Parsed(parsed.items + kept)
        return _File(digest, parsed, good)

    def _earlier(self, name: str) -> Parsed:
        """What an earlier run knew of a file that this run has never seen whole."""
        manifests = self._before.get(name, ())
        return parse([Document(dict(manifest), Whereabouts(Place(name, 1))) for manifest in manifests])

    def _add_secrets(self, items: dict[ObjectRef, Item]) -> Iterator[Problem]:
        for wanted in self._secrets:
            try:
                if wanted not in self._values or _can_be_read_again(wanted):
                    self._values[wanted] = fetch(wanted)
            except SecretProblem as problem:
                if wanted not in self._values:
                    raise
                words = f"{problem}; the value from before stays"
                yield Problem(COMMAND_LINE, words, wanted.ref, wanted.key, Reason.INVALID_SECRET)
            present = items.get(wanted.ref)
            where = present.where if present else Whereabouts(COMMAND_LINE)
            held: Data = present.content if present else {}  # type: ignore[assignment]
            data: Data = MappingProxyType({**held, wanted.key: self._values[wanted]})
            items[wanted.ref] = Item(wanted.ref, where, data_digest(data), data)


def _can_be_read_again(wanted: SecretOption) -> bool:
    """False for a pipe, such as a shell's `<(...)`, which gives its content once and would be waited for afterwards."""
    return wanted.path is None or wanted.path.is_file() or not wanted.path.exists()


def _content(path: Path) -> bytes:
    """A file's bytes; OSError, with words for people, for anything that is no file of a sane size."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for, and a device may have no end
        raise OSError(errno.EINVAL, "it is no regular file: take it out of the folder")
    if found.st_size > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_BYTES >> 20} MB: split it, or take it out of the folder")
    return path.read_bytes()


def _twice(first: Item, second: Item) -> Problem:
    message = f"is declared twice, first at {first.where.start}, which counts: rename this one or take it out"
    return Problem(second.where.start, message, second.ref, "", Reason.DUPLICATE_NAME)


def discover(root: Path) -> Iterator[tuple[str, Path]]:
    """Every YAML file below `root`, by its path from there; hidden ones are left out, links are followed.

    A mounted ConfigMap is a folder of links into a hidden folder: so its files are seen once. FolderProblem if a folder
    can't be read: what it declares is not known, and must not count as taken away.
    """
    try:
        if root.is_file():
            yield root.name, root
            return
        if not root.is_dir():
            raise FolderProblem(f"{root} is no folder: give -f a folder of YAML files")
        os.scandir(root).close()
    except OSError as error:
        raise FolderProblem(f"{root} can't be read: {error.strerror}") from None
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, onerror=_unreadable, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder around it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if name.endswith(_ENDINGS) and not name.startswith(".") and name not in _TOOLS:
                path = Path(folder, name)
                yield path.relative_to(root).as_posix(), path


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):  # gone since it was listed
        raise FolderProblem(f"{error.filename} can't be read: {error.strerror}")
