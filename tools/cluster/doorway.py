"""The way in: listens on 127.0.0.1 of the machine and hands each connection on to an address inside a cluster.

`python -m cluster.doorway PORT_FILE ADDRESS PORT`, run in the cluster's process namespace (so that it ends with it) but
in the machine's network. It writes the port that the kernel gave it to PORT_FILE. A socket belongs to the network in
which it was made: so it listens first, and then moves to the cluster's network for the rest of its life.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import sys
from pathlib import Path

_CLONE_NEWNET = 0x40000000


def enter_network(namespace: Path) -> None:
    """Move this thread to another network namespace. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(descriptor)


async def serve(listener: socket.socket, address: str, port: int) -> None:
    """Hand on every connection, until the process is ended."""

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(address, port)
        except OSError:
            writer.transport.abort()
            return
        async with asyncio.TaskGroup() as both:
            both.create_task(_pump(reader, inner_writer))
            both.create_task(_pump(inner_reader, writer))
        for end in (writer, inner_writer):
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()

    server = await asyncio.start_server(hand_on, sock=listener)
    async with server:
        await server.serve_forever()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction; an end is passed on as an end, a break as a break."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()


def main() -> None:
    port_file, address, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    enter_network(Path("/proc/1/ns/net"))
    partial = port_file.with_suffix(".partial")
    partial.write_text(str(listener.getsockname()[1]), "ascii")
    partial.replace(port_file)
    asyncio.run(serve(listener, address, port))


if __name__ == "__main__":
    main()
