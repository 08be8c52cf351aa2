"""Supabase's own Python client through the gateway on a real PostgREST: what its rows, counts and errors look like.

Nothing of the client is changed but its URL, and its key is a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from postgrest import APIError, CountMethod, ReturnMethod
from supabase import Client, ClientOptions, create_client

from harness.headgate import Form, Headgate
from harness.resolve import resolved
from harness.supabase import ALICE, BOB, SECRET_KEY, Project, token, user

# The client's own doing: it hands these on to a part of it that no longer wants them.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*' parameter is deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def rows(project: Project) -> None:
    project.reset()


@pytest.fixture(params=list(Form), ids=lambda form: f"{form.value}-form")
def form(request: pytest.FixtureRequest, headgate: Headgate) -> Iterator[Form]:
    """In host form the gateway is found by the upstream's name."""
    found: Form = request.param
    with resolved({"app.default": headgate.address, "public.default": headgate.address}):
        yield found


def connect(headgate: Headgate, form: Form, upstream: str = "app", bearer: str | None = None) -> Client:
    """`bearer`: the token of the user for whom it acts, as applications give it."""
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
    return create_client(headgate.url(upstream, form=form), "unused", ClientOptions(headers=headers))


def column(answer: Any, name: str) -> list[Any]:
    """One column of the rows in an answer."""
    return [row[name] for row in answer.data]


@pytest.fixture
def server(headgate: Headgate, form: Form) -> Client:
    """The client of an application's server side."""
    return connect(headgate, form)


def test_reading(server: Client, project: Project) -> None:
    found = server.table("planets").select("id,name").gt("id", 3).order("id", desc=True).limit(2).execute()
    assert found.data == [{"id": 25, "name": "planet 25"}, {"id": 24, "name": "planet 24"}]
    one = server.table("planets").select("name").eq("id", 7).single().execute()
    assert one.data == {"name": "planet 7"}
    assert server.table("planets").select("*").eq("id", 99).maybe_single().execute() is None
    listed = server.table("planets").select("id").in_("id", [1, 2, 30]).execute()
    assert listed.data == [{"id": 1}, {"id": 2}]
    assert {seen.header("apikey") for seen in project.edge.requests} == {SECRET_KEY}


def test_ranges_and_counts(server: Client) -> None:
    page = server.table("planets").select("id", count=CountMethod.exact).order("id").range(10, 14).execute()
    assert (column(page, "id"), page.count) == ([11, 12, 13, 14, 15], 25)
    only = server.table("planets").select("*", count=CountMethod.exact, head=True).execute()
    assert (only.data, only.count) == ([], 25)


def test_writing(server: Client, project: Project) -> None:
    added = server.table("ledger").insert([{"id": 2, "entry": "two"}, {"id": 3, "entry": "three"}]).execute()
    assert column(added, "id") == [2, 3]
    silent = server.table("ledger").insert({"id": 4, "entry": "four"}, returning=ReturnMethod.minimal).execute()
    assert silent.data == []
    note = {"owner": ALICE, "body": "first", "tag": "t"}
    kept = server.table("notes").upsert(note, on_conflict="tag").execute()
    again = server.table("notes").upsert({**note, "body": "second"}, on_conflict="tag").execute()
    assert column(again, "id") == column(kept, "id")
    assert column(again, "body") == ["second"]
    changed = server.table("notes").update({"body": "third"}).eq("tag", "t").execute()
    assert column(changed, "body") == ["third"]
    assert len(server.table("notes").delete().eq("owner", ALICE).execute().data) == 3
    assert project.postgres.sql("select body from notes") == [("one of bob",)]


def test_functions_of_the_database(server: Client) -> None:
    assert server.rpc("add", {"a": 2, "b": 3}).execute().data == 5
    assert server.rpc("add", {"a": 2, "b": 3}, get=True).execute().data == 5
    assert server.rpc("whoami", {}).execute().data == {"role": "service_role", "sub": None}


@pytest.mark.parametrize("upstream", ["app", "public"])
def test_a_signed_in_user_has_its_own_rights(headgate: Headgate, form: Form, upstream: str) -> None:
    for sub, rows in ((ALICE, ["one of alice", "two of alice"]), (BOB, ["one of bob"])):
        client = connect(headgate, form, upstream, user(sub))
        assert client.rpc("whoami", {}).execute().data == {"role": "authenticated", "sub": sub}
        assert column(client.table("notes").select("body").order("body").execute(), "body") == rows


def test_a_users_token_set_later_counts_from_then_on(headgate: Headgate, form: Form) -> None:
    client = connect(headgate, form)
    assert client.rpc("whoami", {}).execute().data == {"role": "service_role", "sub": None}
    client.postgrest.auth(user(BOB))
    assert client.rpc("whoami", {}).execute().data == {"role": "authenticated", "sub": BOB}


def test_nobody_in_particular_with_the_publishable_key(headgate: Headgate, form: Form) -> None:
    client = connect(headgate, form, "public")
    assert client.rpc("whoami", {}).execute().data == {"role": "anon", "sub": None}
    assert client.table("notes").select("*").execute().data == []
    assert len(client.table("planets").select("*").execute().data) == 25


def test_errors_are_the_clients_own(server: Client, headgate: Headgate, form: Form) -> None:
    with pytest.raises(APIError) as missing:
        server.table("nowhere").select("*").execute()
    assert (missing.value.code, missing.value.message) == ("42P01", 'relation "public.nowhere" does not exist')
    with pytest.raises(APIError) as double:
        server.table("ledger").insert({"id": 1, "entry": "again"}).execute()
    assert (double.value.code, double.value.details) == ("23505", "Key (id)=(1) already exists.")
    with pytest.raises(APIError) as many:
        server.table("planets").select("*").single().execute()
    assert many.value.code == "PGRST116"
    bob = connect(headgate, form, bearer=user(BOB))
    with pytest.raises(APIError) as forbidden:
        bob.table("notes").insert({"owner": ALICE, "body": "planted"}).execute()
    assert forbidden.value.code == "42501"
    assert "row-level security" in (forbidden.value.message or "")
    late = connect(headgate, form, bearer=token(sub=BOB, lifetime=-60))
    with pytest.raises(APIError) as expired:
        late.table("notes").select("*").execute()
    assert (expired.value.code, expired.value.message) == ("PGRST301", "JWT expired")
