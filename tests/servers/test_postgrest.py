"""What the real PostgREST answers, asked without a gateway: the facts that the profile `supabase` stands on.

Where one of these changes with a newer binary, the profile has to be looked at again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from harness.pki import Authority, client_context
from harness.resolve import resolved
from harness.supabase import ALICE, BOB, HOST, PUBLISHABLE_KEY, SECRET_KEY, Project, token, user

REST = "/rest/v1"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    # One connection, and not long to wait for it: so a single slow call is a full pool.
    settings = {"DB_POOL": "1", "DB_POOL_ACQUISITION_TIMEOUT": "1", "DB_CHANNEL_ENABLED": "false"}
    with Project(tmp_path_factory.mktemp("project"), Authority(), **settings) as running:
        yield running


@pytest.fixture(autouse=True)
def rows(project: Project) -> None:
    project.reset()


@pytest.fixture
def http(project: Project) -> Iterator[httpx.Client]:
    """Calls the project under its own name, past any gateway."""
    context = client_context(project.authority.pem)
    with (
        resolved({HOST: ("127.0.0.1", project.edge.port)}),
        httpx.Client(base_url=f"https://{HOST}", verify=context, trust_env=False, timeout=20) as client,
    ):
        yield client


def as_service(**more: str) -> dict[str, str]:
    return {"apikey": SECRET_KEY, **more}


def as_user(sub: str, key: str = PUBLISHABLE_KEY) -> dict[str, str]:
    return {"apikey": key, "authorization": f"Bearer {user(sub)}"}


def bodies(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return sorted(row["body"] for row in answer.json())


@pytest.mark.parametrize(
    ("headers", "seen"),
    [
        (as_service(), ["one of alice", "one of bob", "two of alice"]),
        (as_service(authorization=f"Bearer {SECRET_KEY}"), ["one of alice", "one of bob", "two of alice"]),
        ({"apikey": PUBLISHABLE_KEY}, []),
        (as_user(ALICE), ["one of alice", "two of alice"]),
        (as_user(BOB), ["one of bob"]),
        # A secret key beside a user's token: the token decides, so the edge lets the user's rights stand.
        (as_user(BOB, SECRET_KEY), ["one of bob"]),
        (as_user("cccccccc-0000-4000-8000-000000000003"), []),
    ],
    ids=["secret", "secret-twice", "publishable", "alice", "bob", "bob-beside-secret", "stranger"],
)
def test_rows_are_seen_by_whom_they_belong_to(http: httpx.Client, headers: dict[str, str], seen: list[str]) -> None:
    assert bodies(http.get(f"{REST}/notes", headers=headers)) == seen


@pytest.mark.parametrize(
    ("method", "path", "headers", "json", "status", "code"),
    [
        ("GET", "/nowhere", as_service(), None, 404, "42P01"),
        ("POST", "/rpc/nothing", as_service(), {}, 404, "PGRST202"),
        ("POST", "/planets", as_service(), {"id": 1, "name": "again"}, 403, "42501"),
        ("POST", "/ledger", as_service(), {"id": 1, "entry": "again"}, 409, "23505"),
        ("GET", "/ledger", as_user(ALICE), None, 403, "42501"),
        # Without a token of a user the same refusal asks for one.
        ("GET", "/ledger", {"apikey": PUBLISHABLE_KEY}, None, 401, "42501"),
        ("POST", "/notes", as_user(ALICE), {"owner": BOB, "body": "planted"}, 403, "42501"),
        ("GET", "/planets?offset=99", as_service(prefer="count=exact"), None, 416, "PGRST103"),
        ("GET", "/planets?id=eq.x", as_service(), None, 400, "22P02"),
        ("GET", "/planets?nothing=eq.1", as_service(), None, 400, "42703"),
        ("GET", "/planets", as_service(accept="application/vnd.pgrst.object+json"), None, 406, "PGRST116"),
        ("POST", "/rpc/break_off", as_service(), {}, 503, "08006"),
        ("PATCH", "/notes?id=eq.1", as_user(ALICE), {"owner": BOB}, 403, "42501"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_errors(
    http: httpx.Client, method: str, path: str, headers: dict[str, str], json: Any, status: int, code: str
) -> None:
    answer = http.request(method, REST + path, headers=headers, json=json)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"code", "message", "details", "hint"}


@pytest.mark.parametrize(
    "bearer",
    [token(sub=ALICE, lifetime=-60), token(sub=ALICE, secret="of another project, and just as long"), "no.token.atall"],
    ids=["expired", "of-another-project", "no-token"],
)
def test_tokens_that_do_not_count(http: httpx.Client, bearer: str) -> None:
    answer = http.get(f"{REST}/notes", headers={"apikey": SECRET_KEY, "authorization": f"Bearer {bearer}"})
    # Version 12 has one code for all; newer ones tell the expired one apart (PGRST303).
    assert (answer.status_code, answer.json()["code"]) == (401, "PGRST301")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_keys_that_do_not_count(http: httpx.Client) -> None:
    answers = [http.get(f"{REST}/notes", headers=headers) for headers in ({}, {"apikey": "sb_secret_of-nobody"})]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert [answer.json()["message"] for answer in answers] == ["No API key found in request", "Invalid API key"]


def test_a_full_pool_is_504_and_nothing_ran(project: Project, http: httpx.Client) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(http.post, f"{REST}/rpc/nap", headers=as_service(), json={"seconds": 2.5})
        # In the meantime, and not before: the one connection is known to be taken when the database says so.
        _wait_for_nap(project)
        answer = http.post(f"{REST}/ledger", headers=as_service(), json={"id": 2, "entry": "never"})
        assert (answer.status_code, answer.json()["code"]) == (504, "PGRST003")
        assert slow.result().status_code == 204
    assert project.postgres.sql("select count(*) from ledger") == [("1",)]


def _wait_for_nap(project: Project) -> None:
    deadline = time.monotonic() + 10
    while project.postgres.sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") != [("1",)]:
        assert time.monotonic() < deadline, "the slow call never began"
        time.sleep(0.02)


def test_without_its_database_it_is_503_and_says_when_to_come_back(project: Project, http: httpx.Client) -> None:
    project.postgres.stop()
    try:
        # The connection at hand has been cut: whether anything ran on it is not for PostgREST to say.
        first = http.post(f"{REST}/ledger", headers=as_service(), json={"id": 2, "entry": "never"})
        assert (first.status_code, first.json()["code"]) == (503, "57P01")
        # From then on there is none, so nothing can have.
        answer = http.post(f"{REST}/ledger", headers=as_service(), json={"id": 2, "entry": "never"})
        assert (answer.status_code, answer.json()["code"]) == (503, "PGRST000")
        assert [seen.headers["retry-after"].isdigit() for seen in (first, answer)] == [True, True]
        assert "proxy-status" not in answer.headers
        assert (project.rest.live(), project.rest.ready()) == (True, False)
        # Nothing else of the project depends on it.
        assert http.get("/auth/v1/health", headers=as_service()).status_code == 200
    finally:
        project.postgres.start()
    project.rest.wait_ready()
    assert bodies(http.get(f"{REST}/notes", headers=as_user(BOB))) == ["one of bob"]
