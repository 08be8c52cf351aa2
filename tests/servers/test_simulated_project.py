"""The simulated Supabase project with a real PostgREST behind it: tokens of its Auth are what the database goes by."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from postgrest.exceptions import APIError
from supabase import Client, ClientOptions, create_client

from harness.pki import Authority, client_context
from harness.postgres import Postgres
from harness.postgrest import Postgrest
from harness.resolve import resolved
from harness.supabase import SCHEMA
from headgate.simulate.supabase import HOST, SimulatedSupabase
from headgate.simulate.supabase_tokens import JWT_SECRET, PUBLISHABLE_KEY, SECRET_KEY

CA = Authority()


@pytest.fixture(scope="module")
def supabase(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedSupabase]:
    postgres = Postgres()
    rest = Postgrest(postgres, jwt_secret=JWT_SECRET, log=tmp_path_factory.mktemp("rest") / "postgrest.log")
    try:
        postgres.start()
        postgres.sql(SCHEMA.read_text())
        rest.start()
        with SimulatedSupabase(CA, rest=rest.url) as running, resolved({HOST: ("127.0.0.1", running.port)}):
            yield running
    finally:
        rest.stop()
        postgres.close()


def make_client(key: str) -> Client:
    trust = httpx.Client(verify=client_context(CA.pem), trust_env=False)
    return create_client(f"https://{HOST}", key, ClientOptions(httpx_client=trust, auto_refresh_token=False))


def test_who_signs_up_sees_what_is_theirs(supabase: SimulatedSupabase) -> None:
    seen = {}
    for name in ("ada", "bob"):
        client = make_client(PUBLISHABLE_KEY)
        made = client.auth.sign_up({"email": f"{name}@example.com", "password": "correct horse"})
        assert made.user is not None
        assert client.rpc("whoami").execute().data == {"role": "authenticated", "sub": made.user.id}
        client.table("notes").insert({"body": f"of {name}"}).execute()
        seen[name] = client.table("notes").select("body").execute().data
    assert seen == {"ada": [{"body": "of ada"}], "bob": [{"body": "of bob"}]}


def test_keys_have_their_roles(supabase: SimulatedSupabase) -> None:
    assert make_client(PUBLISHABLE_KEY).rpc("whoami").execute().data == {"role": "anon", "sub": None}
    assert make_client(SECRET_KEY).rpc("whoami").execute().data == {"role": "service_role", "sub": None}
    legacy = make_client(supabase.legacy_keys["service_role"])
    assert legacy.rpc("whoami").execute().data == {"role": "service_role", "sub": None}
    with pytest.raises(APIError) as caught:
        make_client(PUBLISHABLE_KEY).table("ledger").select("*").execute()
    assert caught.value.code == "42501"
