"""A Supabase project whose `rest` service is real: PostgREST on PostgreSQL with row-level security, behind the simulated edge.

    with Project(log_directory, Authority()) as project, project.behind(root, {"app": "secret"}) as headgate:
        headgate.call("app", "/rest/v1/notes")

The edge does with keys what the hosted one does (`headgate.simulate.supabase`); all else of `rest` is the database's own
doing. `project.edge.requests` is what arrived there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from starlette.types import Message, Receive, Scope, Send

from harness import declared
from harness.dns import DnsServer
from harness.headgate import Headgate
from harness.pki import Authority
from harness.postgres import Postgres
from harness.postgrest import Postgrest
from headgate.simulate.supabase import HOST, REFERENCE, SimulatedSupabase
from headgate.simulate.supabase_rest import Upstream
from headgate.simulate.supabase_tokens import JWT_SECRET, PUBLISHABLE_KEY, SECRET_KEY, Signer

__all__ = ["ALICE", "BOB", "HOST", "PUBLISHABLE_KEY", "SECRET_KEY", "Project", "token", "user"]
SCHEMA = Path(__file__).with_name("supabase.sql")
ALICE, BOB = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"


def token(role: str = "authenticated", *, lifetime: float = 3600, secret: str = JWT_SECRET, **claims: Any) -> str:
    """A JWT of the project's. `lifetime` in seconds from now; a negative one has expired."""
    return Signer(secret).sign({"role": role, **claims}, lifetime)


def user(sub: str) -> str:
    """The token of a signed-in user."""
    return token(sub=sub)


class Newer(Upstream):
    """A PostgREST whose errors have, where `enabled`, the header that versions since 13 give them: the binary at hand is
    older.
    """

    enabled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call; what the answer is waits for its body, where that is an error."""
        held: list[Message] = []

        async def hold(message: Message) -> None:
            begins = message["type"] == "http.response.start"
            if message["status"] < 400 if begins else not held:
                await send(message)
            else:
                held.append(message)
                if not begins and not message.get("more_body"):
                    code = json.loads(b"".join(part.get("body", b"") for part in held))["code"]
                    held[0]["headers"].append((b"proxy-status", f"PostgREST; error={code}".encode()))
                    for part in held:
                        await send(part)

        await super().__call__(scope, receive, hold if self.enabled else send)


class Project:
    """A project under `HOST`, at `edge.port` on loopback. One thread drives an instance."""

    def __init__(self, logs: Path, authority: Authority, **settings: str) -> None:
        """`settings` are PostgREST's own (`harness.postgrest`)."""
        self.authority = authority
        self.postgres = Postgres()
        self.rest = Postgrest(self.postgres, jwt_secret=JWT_SECRET, log=logs / "postgrest.log", settings=settings)
        self.newer = Newer(self.rest.url)
        self.edge = SimulatedSupabase(authority, rest=self.newer)

    def __enter__(self) -> Self:
        try:
            self.postgres.start()
            self.postgres.sql(SCHEMA.read_text())
            self.rest.start()
            self.edge.start()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End all of it."""
        self.edge.stop()
        self.rest.stop()
        self.postgres.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def reset(self) -> None:
        """The rows as they are at the start of each test, and nothing seen yet at the edge."""
        self.postgres.sql(
            f"""
            truncate notes, ledger restart identity;
            alter sequence begun restart;
            insert into notes (owner, body) values
              ('{ALICE}', 'one of alice'), ('{ALICE}', 'two of alice'), ('{BOB}', 'one of bob');
            insert into ledger values (1, 'for the server only');
            """
        )
        self.newer.enabled = False
        self.edge.recorder.clear()

    @contextmanager
    def behind(
        self, root: Path, upstreams: Mapping[str, str], policies: Mapping[str, str] | None = None
    ) -> Iterator[Headgate]:
        """A gateway in front of it. `upstreams`: `secret` or `publishable` by name, which says what key the gateway has;
        `policies`: files of one policy each, by its name. All are in force.
        """
        options = {"project": REFERENCE}
        files = {
            "gateway": declared.GATEWAY,
            "ca": declared.config_map("test-ca", "ca.crt", self.authority.pem.decode()),
            **(policies or {}),
        }
        for name, key in upstreams.items():
            files[name] = declared.upstream(name, "supabase", self.edge.port, secret=key, providerOptions=options)
        secrets = {"default/secret/key": SECRET_KEY, "default/publishable/key": PUBLISHABLE_KEY}
        with DnsServer() as dns:
            dns.set(HOST, "127.0.0.1", ttl=60)
            with Headgate(root, dns=dns, secrets=secrets, files=files) as headgate:
                headgate.wait_ready(*upstreams)
                for policy in headgate.objects():
                    if policy["kind"] not in ("UpstreamService", "IntegrationGateway"):
                        headgate.wait_condition(policy["kind"], policy["metadata"]["name"], "Programmed")
                yield headgate

    def executions(self) -> int:
        """How often a function that counts itself has begun to run since `reset`."""
        ((last, called),) = self.postgres.sql("select last_value, is_called from begun")
        return int(last) if called == "t" else 0
