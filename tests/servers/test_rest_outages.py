"""A database behind PostgREST that is busy, gone and back, through the gateway: what may be repeated, and what is told.

What PostgREST turns away because it has no connection has not run, so that even a POST may be repeated; what fails in any
other way may have, whatever the status. Rows and a sequence in the database are the proof of how often something ran.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from harness import declared
from harness.headgate import Headgate
from harness.pki import Authority, client_context
from harness.resolve import resolved
from harness.supabase import ALICE, HOST, SECRET_KEY, Project, token, user

LEDGER = "/rest/v1/ledger"
UPSTREAMS = {"plain": "secret", "patient": "secret", "guarded": "secret"}
BREAK = 1.0
POLICIES = {
    "patience": declared.policy(
        "RetryPolicy",
        "patient",
        attempts=10,
        perRetry={"backOff": {"baseInterval": "50ms", "maxInterval": "500ms"}},
        rateLimitedBackOff={"maxInterval": "5s"},
    ),
    "breaker": declared.policy("CircuitBreaker", "guarded", consecutiveFailures=3, breakDuration=f"{BREAK:.0f}s"),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    # One connection, and not long to wait for it: so a single slow call is a full pool.
    settings = {"DB_POOL": "1", "DB_POOL_ACQUISITION_TIMEOUT": "1", "DB_CHANNEL_ENABLED": "false"}
    with Project(tmp_path_factory.mktemp("project"), Authority(), **settings) as running:
        yield running


@pytest.fixture(scope="module")
def headgate(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    with project.behind(tmp_path_factory.mktemp("headgate"), UPSTREAMS, POLICIES) as running:
        yield running


@pytest.fixture(autouse=True)
def rows(project: Project) -> None:
    project.reset()


@pytest.fixture(scope="module")
def direct(project: Project) -> Iterator[httpx.Client]:
    """Calls the project past the gateway, with the gateway's key."""
    with (
        resolved({HOST: ("127.0.0.1", project.edge.port)}),
        httpx.Client(
            base_url=f"https://{HOST}",
            verify=client_context(project.authority.pem),
            headers={"apikey": SECRET_KEY},
            trust_env=False,
            timeout=20,
        ) as client,
    ):
        yield client


def insert(headgate: Headgate, upstream: str, number: int) -> httpx.Response:
    row = {"id": number, "entry": f"number {number}"}
    return headgate.call(upstream, LEDGER, method="POST", json=row, timeout=30)


def attempts(project: Project) -> list[int | None]:
    """The statuses of the attempts to insert, as the provider answered them."""
    return [
        seen.answered for seen in project.edge.requests if seen.method == "POST" and seen.raw_path == LEDGER.encode()
    ]


def ledger(project: Project) -> list[str]:
    return [row[0] for row in project.postgres.sql("select id from ledger order by id")]


def wait(condition: Callable[[], bool], what: str, timeout: float = 15.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not {what} after {timeout} s"
        time.sleep(0.02)


@pytest.fixture
def outage(project: Project, direct: httpx.Client) -> Iterator[None]:
    """The database is gone, and PostgREST knows it."""
    recovered(
        project
    )  # what went before may have left it reading the schema anew, and it would say so instead: PGRST002
    project.postgres.stop()
    try:
        wait(lambda: direct.get("/rest/v1/planets").json()["code"] == "PGRST000", "known to be gone")
        project.edge.recorder.clear()
        yield
    finally:
        recovered(project)


def back(project: Project) -> None:
    """The database is there again; PostgREST finds that out."""
    if not project.postgres.running:
        project.postgres.start()


def recovered(project: Project) -> None:
    """All is as at the start. A PostgREST of its own for each outage: with each it waits longer until it looks again."""
    back(project)
    project.rest.stop()
    project.rest.start()


# What may be repeated


def test_what_found_no_free_connection_is_repeated_and_done_once(
    headgate: Headgate, project: Project, direct: httpx.Client
) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(direct.post, "/rest/v1/rpc/nap", json={"seconds": 2.2})
        napping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
        wait(lambda: project.postgres.sql(napping) == [("1",)], "busy")
        answer = insert(headgate, "patient", 2)
        assert answer.status_code == 201, answer.text
        assert slow.result().status_code == 204
    seen = attempts(project)
    assert seen == [504] * (len(seen) - 1) + [201]
    assert len(seen) >= 2
    assert ledger(project) == ["1", "2"]


def test_what_found_no_database_is_repeated_until_it_is_back_and_done_once(
    headgate: Headgate, project: Project, outage: None
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(insert, headgate, "patient", 3)
        wait(lambda: len(attempts(project)) >= 2, "tried again")
        back(project)
        answer = waiting.result(30)
    assert answer.status_code == 201, answer.text
    assert attempts(project)[:2] == [503, 503]
    assert attempts(project).count(201) == 1
    assert ledger(project) == ["1", "3"]


def test_the_code_in_the_header_of_newer_versions_does_it_too(
    headgate: Headgate, project: Project, outage: None
) -> None:
    project.newer.enabled = True
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(insert, headgate, "patient", 4)
        wait(lambda: len(attempts(project)) >= 2, "tried again")
        back(project)
        assert waiting.result(30).status_code == 201
    assert ledger(project) == ["1", "4"]


def test_another_503_may_have_run_so_a_post_is_not_repeated(
    headgate: Headgate, project: Project, direct: httpx.Client
) -> None:
    answer = headgate.call("patient", "/rest/v1/rpc/break_off", method="POST", json={})
    assert (answer.status_code, answer.json()["code"]) == (503, "08006")
    assert project.executions() == 1
    assert len(project.edge.requests) == 1
    assert answer.content == direct.post("/rest/v1/rpc/break_off", json={}).content


def test_a_connection_cut_by_the_outage_is_such_a_503(
    headgate: Headgate, project: Project, direct: httpx.Client
) -> None:
    """The first call after the database has gone fails on a connection that was there: 57P01, and nobody can know more."""
    recovered(project)
    assert direct.get("/rest/v1/planets").status_code == 200
    project.edge.recorder.clear()
    project.postgres.stop()
    try:
        answer = insert(headgate, "patient", 5)
        assert (answer.status_code, answer.json()["code"]) == (503, "57P01")
        assert attempts(project) == [503]
    finally:
        recovered(project)
    assert ledger(project) == ["1"]


def test_a_connection_lost_in_the_middle_of_a_call_is_no_reason_to_do_it_again(
    headgate: Headgate, project: Project
) -> None:
    """PGRST001 looks like PGRST000, and says that it could not connect; but here the call was under way."""
    with ThreadPoolExecutor(1) as pool:
        path, row = "/rest/v1/rpc/linger", {"seconds": 30}
        waiting = pool.submit(headgate.call, "patient", path, method="POST", json=row, timeout=30)
        lingering = "select pid from pg_stat_activity where wait_event = 'PgSleep'"
        wait(lambda: len(project.postgres.sql(lingering)) == 1, "under way")
        assert project.executions() == 1
        ((pid,),) = project.postgres.sql(lingering)
        os.kill(int(pid), signal.SIGKILL)
        answer = waiting.result(30)
    try:
        assert (answer.status_code, answer.json()["code"]) == (503, "PGRST001")
        assert len(project.edge.requests) == 1
    finally:
        # The database ends all its sessions when one of them has crashed, and takes calls again a little later.
        wait(lambda: project.postgres.answers, "back")
        recovered(project)


def test_without_a_policy_nothing_is_repeated(headgate: Headgate, project: Project, outage: None) -> None:
    answer = insert(headgate, "plain", 6)
    assert (answer.status_code, answer.json()["code"]) == (503, "PGRST000")
    assert attempts(project) == [503]


def test_a_user_stays_the_user_over_all_attempts(headgate: Headgate, project: Project, outage: None) -> None:
    bearer = f"Bearer {user(ALICE)}"
    headers = {"apikey": "unused", "authorization": bearer, "prefer": "return=representation"}

    def write() -> httpx.Response:
        note = {"body": "written in an outage"}
        return headgate.call("patient", "/rest/v1/notes", method="POST", json=note, headers=headers, timeout=30)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(write)
        wait(lambda: len(project.edge.requests) >= 2, "tried again")
        back(project)
        answer = waiting.result(30)
    assert answer.status_code == 201, answer.text
    assert [row["owner"] for row in answer.json()] == [ALICE]
    assert {seen.header("authorization") for seen in project.edge.requests} == {bearer}


# What is told


ERRORS: dict[str, tuple[str, str, dict[str, str], object]] = {
    "404-42P01": ("GET", "/nowhere", {}, None),
    "404-PGRST202": ("POST", "/rpc/nothing", {}, {}),
    "409-23505": ("POST", "/ledger", {}, {"id": 1, "entry": "again"}),
    "403-42501": ("POST", "/planets", {}, {"id": 99, "name": "x"}),
    "416-PGRST103": ("GET", "/planets?offset=99", {"prefer": "count=exact"}, None),
    "400-42703": ("GET", "/planets?nothing=eq.1", {}, None),
    "406-PGRST116": ("GET", "/planets", {"accept": "application/vnd.pgrst.object+json"}, None),
    "401-PGRST301": ("GET", "/planets", {"authorization": f"Bearer {token(sub=ALICE, lifetime=-60)}"}, None),
    "503-08006": ("POST", "/rpc/break_off", {}, {}),
}


@pytest.mark.parametrize("upstream", ["plain", "patient"])
@pytest.mark.parametrize("error", ERRORS)
def test_errors_arrive_as_they_are(
    headgate: Headgate, project: Project, direct: httpx.Client, error: str, upstream: str
) -> None:
    method, path, headers, body = ERRORS[error]
    status, code = error.split("-")
    project.newer.enabled = True
    expected = direct.request(method, f"/rest/v1{path}", headers=headers, json=body)
    assert (expected.status_code, expected.json()["code"]) == (int(status), code)
    project.edge.recorder.clear()
    answer = headgate.call(upstream, f"/rest/v1{path}", method=method, headers=headers, json=body)
    assert (answer.status_code, answer.content) == (expected.status_code, expected.content)
    for name in ("content-type", "content-range", "proxy-status", "retry-after", "www-authenticate"):
        # As lists: PostgREST gives some errors two content types, which proxies may join.
        assert answer.headers.get_list(name, True) == expected.headers.get_list(name, True), name
    assert len(project.edge.requests) == 1


# An outage


def test_an_outage_of_the_database_closes_rest_and_nothing_else(
    headgate: Headgate, project: Project, outage: None
) -> None:
    refusals = [headgate.call("guarded", "/rest/v1/planets") for _ in range(6)]
    assert [answer.status_code for answer in refusals] == [503] * 6
    assert ["PGRST000" in answer.text for answer in refusals] == [True] * 3 + [False] * 3
    # Refused here: not one call more has reached the provider, and the wait is said.
    assert len(project.edge.requests) == 3
    assert 0 < int(refusals[-1].headers["retry-after"]) <= BREAK + 1
    health = headgate.call("guarded", "/auth/v1/health")
    assert (health.status_code, health.json()["name"]) == (200, "GoTrue")
    # Other upstreams of the same project have breakers of their own, or none.
    assert "PGRST000" in headgate.call("plain", "/rest/v1/planets").text
    back(project)
    wait(lambda: headgate.call("guarded", "/rest/v1/planets?limit=1").status_code == 200, "back")
    answers = [headgate.call("guarded", "/rest/v1/planets?limit=1").status_code for _ in range(5)]
    assert answers == [200] * 5
