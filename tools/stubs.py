"""Write type stubs for the xDS messages to `.tools/typings`, where mypy finds them.

The `xds-protos` wheel brings compiled messages without types. Their descriptors are in them, though,
so protoc can write the stubs that it would have written from the sources; with them mypy knows each
message's fields and enums. The messages of `google.protobuf` itself have stubs in `types-protobuf`.
Standalone: reads installed packages, writes only to `.tools/typings`.
"""

import importlib
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import distribution, version
from pathlib import Path

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOTS = {"envoy", "udpa", "xds"}
TYPINGS = Path(__file__).resolve().parent.parent / ".tools" / "typings"


def messages() -> list[FileDescriptor]:
    """The descriptors of Envoy's own files in the wheel."""
    files = distribution("xds-protos").files or []
    names = sorted(str(file) for file in files if str(file).endswith("_pb2.py") and file.parts[0] in ROOTS)
    modules = (importlib.import_module(name.removesuffix(".py").replace("/", ".")) for name in names)
    return [module.DESCRIPTOR for module in modules]


def in_order(roots: list[FileDescriptor]) -> list[FileDescriptor]:
    """The files and all they import, each after what it imports."""
    ordered: dict[str, FileDescriptor] = {}
    pending = [(root, False) for root in reversed(roots)]
    while pending:
        file, visited = pending.pop()
        if file.name in ordered:
            continue
        if visited:
            ordered[file.name] = file
            continue
        pending.append((file, True))
        pending.extend((dependency, False) for dependency in file.dependencies)
    return list(ordered.values())


def service_stub(file: FileDescriptor) -> str:
    """What protoc does not write: the stub of a `_pb2_grpc` module, with its methods untyped."""
    lines = ["from typing import Any", "import grpc", "import grpc.aio"]
    for name in file.services_by_name:
        lines += [
            f"class {name}Stub:",
            "    def __init__(self, channel: grpc.Channel | grpc.aio.Channel) -> None: ...",
            "    def __getattr__(self, name: str) -> Any: ...",
            f"class {name}Servicer: ...",
            f"def add_{name}Servicer_to_server(",
            f"    servicer: {name}Servicer, server: grpc.Server | grpc.aio.Server",
            ") -> None: ...",
        ]
    return "\n".join(lines) + "\n"


def write_stubs() -> int:
    """Write the stubs anew and say how many there are."""
    files = in_order(messages())
    described = FileDescriptorSet()
    for file in files:
        file.CopyToProto(described.file.add())
    wanted = [file.name for file in files if not file.name.startswith("google/protobuf/")]
    with tempfile.TemporaryDirectory() as folder:
        descriptors, out = Path(folder) / "descriptors.binpb", Path(folder) / "typings"
        descriptors.write_bytes(described.SerializeToString())
        out.mkdir()
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={descriptors}"]
        subprocess.run([*protoc, f"--pyi_out={out}", *wanted], check=True)
        for file in files:
            if file.services_by_name:
                path = out / file.name.replace(".proto", "_pb2_grpc.pyi")
                path.write_text(service_stub(file), "utf-8")
        shutil.rmtree(TYPINGS, ignore_errors=True)
        shutil.copytree(out, TYPINGS)
    return len(wanted)


def main() -> None:
    """Write the stubs unless they are those of the installed versions."""
    stamp = TYPINGS / ".version"
    wanted = f"xds-protos {version('xds-protos')}, grpcio-tools {version('grpcio-tools')}\n"
    if stamp.is_file() and stamp.read_text("utf-8") == wanted:
        return
    print(f"setup: wrote {write_stubs()} type stubs for the xDS messages", flush=True)
    stamp.write_text(wanted, "utf-8")


if __name__ == "__main__":
    main()
