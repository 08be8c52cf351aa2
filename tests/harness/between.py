"""A proxy between a client and the API server, which can fall silent, hang up, and say that history is gone."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from aiohttp import web

_HOP = {"connection", "content-length", "content-encoding", "host", "keep-alive", "transfer-encoding"}
_EXPIRED = {
    "type": "ERROR",
    "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410},
}


class Between:
    """Speaks plain HTTP to clients and HTTPS, with the kubeconfig's certificate, to the server. One event loop."""

    def __init__(self, kubeconfig: Path) -> None:
        document = json.loads(kubeconfig.read_text("utf-8"))
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self._server = cluster["server"]
        self._tls = ssl.create_default_context(cadata=_text(cluster["certificate-authority-data"]))
        with tempfile.NamedTemporaryFile(
            "w", suffix=".pem"
        ) as pem:  # OpenSSL takes a client's certificate from files only
            pem.write(_text(user["client-certificate-data"]) + _text(user["client-key-data"]))
            pem.flush()
            self._tls.load_cert_chain(pem.name)
        self._open: set[asyncio.Task[object]] = set()
        self._watches: set[asyncio.Task[object]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._expired: set[str] = set()
        #: Answers for requests whose method and path begin like this: status, and seconds before it.
        self.answers: dict[tuple[str, str], tuple[int, float]] = {}
        self.up = True
        #: Method, path and query of each request.
        self.requests: list[str] = []
        self.port = 0

    def kubeconfig(self, directory: Path) -> Path:
        """One that leads here."""
        path = directory / f"between-{self.port}"
        cluster = {"name": "x", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}
        context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
        users = [{"name": "x", "user": {}}]
        whole = {"kind": "Config", "apiVersion": "v1", "clusters": [cluster], "users": users, "contexts": [context]}
        path.write_text(json.dumps({**whole, "current-context": "x"}), "utf-8")
        return path

    def silence(self) -> None:
        """Watches stay open and say nothing more, those to come as well."""
        self._flowing.clear()

    def resume(self) -> None:
        """What was held back comes now."""
        self._flowing.set()

    def hang_up(self, *, watches_only: bool = False) -> None:
        """Close what is open."""
        for task in list(self._watches if watches_only else self._open):
            task.cancel()

    def forget(self, plural: str) -> None:
        """The next watch of this resource is told that its version is too old."""
        self._expired.add(plural)

    @property
    def watches(self) -> int:
        """How many are open."""
        return len(self._watches)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Between]:
        """Listen on a free port of 127.0.0.1."""
        application = web.Application(client_max_size=1 << 26)
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=0), auto_decompress=True
        ) as self._session:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            try:
                yield self
            finally:
                self.hang_up()
                await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self.requests.append(f"{request.method} {request.path_qs}")
        if not self.up:
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=502)
        for (method, path), (status, after) in self.answers.items():
            if request.method == method and request.path.startswith(path):
                await asyncio.sleep(after)
                return web.json_response({"reason": "Said", "message": "as the test has it"}, status=status)
        watch = request.query.get("watch") == "true"
        self._open.add(task)
        if watch:
            self._watches.add(task)
        try:
            return await self._forward(request, watch)
        except ConnectionResetError:  # the client went first
            return web.Response(status=502)
        finally:
            self._open.discard(task)
            self._watches.discard(task)

    async def _forward(self, request: web.Request, watch: bool) -> web.StreamResponse:
        plural = request.path.rsplit("/", 1)[-1]
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        headers["Accept-Encoding"] = "identity"
        async with self._session.request(
            request.method,
            f"{self._server}{request.path_qs}",
            headers=headers,
            data=await request.read() or None,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            if watch and plural in self._expired:
                self._expired.discard(plural)
                await response.write(json.dumps(_EXPIRED).encode() + b"\n")
                return response
            async for part in answer.content.iter_any():
                if watch:
                    await self._flowing.wait()
                await response.write(part)
            await response.write_eof()
            return response


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()
