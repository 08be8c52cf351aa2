"""A container image as an OCI archive: a tar with an index, a manifest, a configuration and layers. Made without any tool.

A layer is written once and then kept, by what goes into it: owners are root, times are 0, names are sorted. What the
receiver has already is not sent again, so that a change to a program costs one small layer.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import marshal
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

from cluster.places import ClusterProblem

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass
class Layer:
    """Files by their absolute path in the image: a file of this machine, or content."""

    files: dict[str, Path | bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    folders: dict[str, int] = field(default_factory=dict)  # only those with another mode than 0755
    #: Compile what is Python when it is written: in a pod the root is read-only, and each start would do it again.
    compiles: bool = False

    def add(self, target: str, source: Path | bytes) -> None:
        """One file. A file that the machine has as executable is so in the image."""
        self.files[target] = source

    def tree(self, target: str, source: Path, keep: Callable[[Path], bool] = lambda _: True) -> None:
        """A folder and all below it, links followed. `keep` is asked with paths below `source`."""
        for folder, folders, names in os.walk(source, followlinks=True):
            below = Path(folder).relative_to(source)
            folders[:] = sorted(name for name in folders if name != "__pycache__" and keep(below / name))
            for name in names:
                if keep(below / name) and (Path(folder) / name).is_file():
                    self.add(f"{target}/{below / name}", Path(folder) / name)

    def libraries(self, *programs: Path) -> None:
        """The machine's shared libraries that programs need, where their loader looks for them."""
        for path in linked(*programs):
            self.add(str(path), path)

    def fingerprint(self) -> str:
        """A digest of what is in it, by size and time of the machine's files."""
        lines = [f"{self.links} {self.folders} {self.compiles} {sys.version}"]
        for target, source in sorted(self.files.items()):
            if isinstance(source, bytes):
                lines.append(f"{target} {hashlib.sha256(source).hexdigest()}")
            else:
                found = source.stat()
                lines.append(f"{target} {found.st_size} {found.st_mtime_ns}")
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def stored(self, folder: Path) -> Blob:
        """It as a file in `folder`, written if it is not there. Safe in parallel."""
        fingerprint = self.fingerprint()[:20]
        found = next(folder.glob(f"{fingerprint}-*.tar"), None)
        if found is None:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="partial-", dir=folder) as scratch:
                path = Path(scratch) / "layer.tar"
                digest = self._write(path)
                found = path.replace(folder / f"{fingerprint}-{digest}.tar")
            _tidy(folder)
        found.touch()
        return Blob(f"sha256:{found.stem.partition('-')[2]}", found.stat().st_size, found)

    def _write(self, path: Path) -> str:
        """Write it as a tar; returns the digest of the bytes."""
        files = {**self.files, **(self._compiled() if self.compiles else {})}
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            for folder in self._folders(files):
                self._entry(tar, folder, tarfile.DIRTYPE, self.folders.get(folder, 0o755))
            for target, source in sorted(files.items()):
                if isinstance(source, bytes):
                    self._entry(tar, target, tarfile.REGTYPE, 0o644, source)
                else:
                    mode = 0o755 if source.stat().st_mode & 0o100 else 0o644
                    self._entry(tar, target, tarfile.REGTYPE, mode, source.read_bytes())
            for target, leads_to in sorted(self.links.items()):
                entry = self._head(target, tarfile.SYMTYPE, 0o777)
                entry.linkname = leads_to
                tar.addfile(entry)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _compiled(self) -> dict[str, bytes]:
        """Byte code for each module, which Python takes without looking at the source's time."""
        found = {}
        for target, source in self.files.items():
            if target.endswith(".py") and isinstance(source, Path):
                place = Path(target)
                name = f"{place.parent}/__pycache__/{place.stem}.{sys.implementation.cache_tag}.pyc"
                with contextlib.suppress(SyntaxError, UnicodeDecodeError, ValueError):  # templates, and tests of errors
                    code = compile(source.read_bytes(), target, "exec", dont_inherit=True)
                    # The header of an unchecked hash: magic number, flags, eight bytes that nobody looks at.
                    found[name] = importlib.util.MAGIC_NUMBER + b"\1\0\0\0" + bytes(8) + marshal.dumps(code)
        return found

    def _folders(self, files: Mapping[str, Path | bytes]) -> list[str]:
        found = set(self.folders)
        for target in (*files, *self.links):
            found |= {str(parent) for parent in Path(target).parents}
        return sorted(found - {"/"})

    def _head(self, target: str, kind: bytes, mode: int) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(target.lstrip("/"))
        entry.type, entry.mode = kind, mode
        return entry

    def _entry(self, tar: tarfile.TarFile, target: str, kind: bytes, mode: int, content: bytes = b"") -> None:
        entry = self._head(target, kind, mode)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes of an image with their digest; those of a layer in a file."""

    digest: str
    size: int
    content: bytes | Path

    @classmethod
    def of(cls, document: Mapping[str, object]) -> Self:
        """A document as JSON."""
        content = json.dumps(document).encode()
        return cls(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), content)

    def descriptor(self, kind: str, **more: object) -> dict[str, object]:
        """How others refer to it."""
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": self.digest, "size": self.size, **more}


@dataclass(frozen=True, slots=True)
class Image:
    """An image, not yet written."""

    names: Sequence[str]
    layers: Sequence[Layer]
    entrypoint: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = "65532:65532"

    def prepare(self, folder: Path) -> list[Blob]:
        """Its layers, written into `folder` where they are not there yet. The slow part of `send`."""
        return [layer.stored(folder) for layer in self.layers]

    def send(self, to: BinaryIO, folder: Path, known: Collection[str] = ()) -> None:
        """Write the archive, without the layers whose digests the receiver knows."""
        layers = self.prepare(folder)
        configuration = Blob.of(self._configuration(layers))
        manifest = Blob.of(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": configuration.descriptor("config.v1+json"),
                "layers": [layer.descriptor("layer.v1.tar") for layer in layers],
            }
        )
        entries = [
            manifest.descriptor("manifest.v1+json", annotations={"io.containerd.image.name": name})
            for name in self.names
        ]
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
        with tarfile.open(fileobj=to, mode="w|") as tar:
            _add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
            _add(tar, "index.json", json.dumps(index).encode())
            for blob in {blob.digest: blob for blob in (manifest, configuration, *layers)}.values():
                if blob.digest not in known:
                    _add(tar, f"blobs/{blob.digest.replace(':', '/')}", blob.content)

    def _configuration(self, layers: Sequence[Blob]) -> dict[str, object]:
        machine = platform.machine()
        return {
            "architecture": _MACHINES.get(machine, machine),
            "os": "linux",
            "config": {
                "Entrypoint": list(self.entrypoint),
                "Env": [f"{name}={value}" for name, value in self.environment.items()],
                "User": self.user,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        }


def _add(tar: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    entry = tarfile.TarInfo(name)
    if isinstance(content, bytes):
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    else:
        entry.size = content.stat().st_size
        with content.open("rb") as file:
            tar.addfile(entry, file)


def _tidy(folder: Path) -> None:
    """Remove layers that nobody has asked for in two weeks: each change to a program leaves one behind."""
    for old in folder.glob("*.tar"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > 14 * 24 * 3600:
                old.unlink()


def linked(*programs: Path) -> list[Path]:
    """The shared libraries that programs need, their loader among them; none for a static one."""
    if shutil.which("ldd") is None:
        raise ClusterProblem("there is no ldd on PATH: it comes with the C library")
    done = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False)
    return sorted({Path(found) for found in re.findall(r"(/\S+) \(0x[0-9a-f]+\)", done.stdout)})
