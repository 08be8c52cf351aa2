"""In a pod: simulated providers, each on a port of its own. `python provide.py FOLDER`.

FOLDER has `tls.crt` and `tls.key`, one certificate for all hosts, and `hosts.json`: `[{host, port, key}]`. The providers
themselves listen on loopback, as they do everywhere; each port here hands its connections on to one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from functools import partial
from pathlib import Path

from cryptography import x509

from headgate.model.secret import SecretValue
from headgate.simulate.catalog import simulation_of
from headgate.simulate.certificates import Authority, Identity, server_context
from headgate.simulate.generic import SimulatedApi
from headgate.simulate.keys import Keys
from headgate.simulate.provider import SimulatedProvider
from headgate.simulate.stage import Stage


def provider(host: str, key: str) -> SimulatedProvider:
    """What stands in for this host, not started."""
    unused = Authority("none")  # certificates come from outside
    keys = Keys()
    keys.add([SecretValue(key.encode())])
    simulation = simulation_of(host)
    if simulation is None:
        found: SimulatedProvider = SimulatedApi(
            unused, lambda name: Stage(name, "generic", keys) if name == host else None
        )
    else:
        found = simulation.make(unused, host)
        found.keys = keys
    found.recorder.keep = 0
    return found


async def serve(ports: dict[int, int]) -> None:
    """Hand on what comes to each port to one of loopback's."""
    async with contextlib.AsyncExitStack() as stack:
        for outer, inner in ports.items():
            server = await asyncio.start_server(partial(hand_on, inner), "0.0.0.0", outer)
            await stack.enter_async_context(server)
        print("serving", flush=True)
        await asyncio.Event().wait()


async def hand_on(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, until both ends are done."""
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.TaskGroup() as both:
        both.create_task(pump(reader, inner_writer))
        both.create_task(pump(inner_reader, writer))
    for end in (writer, inner_writer):
        end.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction; an end is passed on as an end, a break as a break."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()


def main() -> None:
    folder = Path(sys.argv[1])
    chain, key = (folder / "tls.crt").read_bytes(), (folder / "tls.key").read_bytes()
    context = server_context(Identity("providers", chain, key, x509.load_pem_x509_certificate(chain)))
    ports = {}
    for each in json.loads((folder / "hosts.json").read_text("utf-8")):
        server = provider(each["host"], each["key"])
        server.choose_context = lambda _name: context
        server.start()
        ports[each["port"]] = server.port
    asyncio.run(serve(ports))


if __name__ == "__main__":
    main()
