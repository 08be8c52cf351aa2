"""A control plane of a test's size, run as a pod: what is declared in one file, served to a gateway's proxies, and the
provider that it names, all in one process. `python3 -m` is not how it is started: its text is put into a ConfigMap.

Of it: `/authority/authority.pem`, `/declared/world.yaml`; ports 18000 (xDS) and 8000 (the provider).
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from headgate.compile.memo import Memo
from headgate.compile.world import compile_snapshot
from headgate.envoy.render import RenderMemo, render
from headgate.files.folder import Folder
from headgate.files.snapshot import snapshot
from headgate.model.snapshot import Settings
from headgate.xds.pki import CertificateAuthority, ServerTls
from headgate.xds.server import XdsServer

XDS_PORT, PROVIDER_PORT = 18000, 8000
#: How long `/slow` takes.
SLOW = 20.0


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One call: its path decides how long it takes."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.split(b" ", 2)[1].startswith(b"/slow"):
            await asyncio.sleep(SLOW)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nwhole")
        await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        pass  # the caller went away
    finally:
        writer.close()


async def main() -> None:
    """Until it is ended."""
    server = XdsServer(ServerTls(CertificateAuthority(Path("/authority"))))
    plan = compile_snapshot(snapshot(Folder(Path("/declared/world.yaml")).read(), Settings()), Memo())
    for key, gateway in plan.gateways.items():
        server.publish(key, render(gateway, RenderMemo()))
    provider = await asyncio.start_server(answer, "0.0.0.0", PROVIDER_PORT)
    await server.start([f"0.0.0.0:{XDS_PORT}"])
    async with provider:
        await provider.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
