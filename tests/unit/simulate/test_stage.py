"""Counting, remembering and misbehaving, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from pydantic import ValidationError
from starlette.types import Message

from headgate.model.plan import CredentialPlace
from headgate.model.secret import SecretValue
from headgate.simulate.behaviours import as_app, echo
from headgate.simulate.keys import Keys, found
from headgate.simulate.pace import PACE, paced
from headgate.simulate.provider import SimulatedProvider
from headgate.simulate.redirect import Slot
from headgate.simulate.script import Script
from headgate.simulate.stage import KEPT_CALLS, Stage

SLOTS = frozenset(
    {
        Slot(CredentialPlace.HEADER, "authorization", "Bearer "),
        Slot(CredentialPlace.HEADER, "x-own"),
        Slot(CredentialPlace.QUERY, "token"),
        Slot(CredentialPlace.COOKIE, "session"),
    }
)


@pytest.fixture
def stage() -> Stage:
    return Stage("api.example", "generic", slots=SLOTS)


@pytest.fixture
def client(stage: Stage) -> Iterator[httpx.Client]:
    server = SimulatedProvider(as_app(echo()))
    server.wrap(
        lambda app: (
            lambda scope, receive, send: (
                app(scope, receive, send)
                if scope["type"] == "lifespan"
                else stage.answer(app, server.failing, server.drop_connection, scope, receive, send)
            )
        )
    )
    with server, httpx.Client(base_url=server.url(), trust_env=False) as client:
        yield client


def test_every_call_is_counted_once_however_many_come_at_a_time(stage: Stage, client: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert {each.status_code for each in pool.map(lambda n: client.get(f"/{n}"), range(300))} == {200}
    count, calls = stage.calls()
    assert (count, stage.record().calls, len(calls)) == (300, 300, KEPT_CALLS)
    assert [each.number for each in calls] == list(range(301 - KEPT_CALLS, 301))
    assert {each.status for each in calls} == {200}


def test_a_call_tells_where_credentials_were_and_not_what_they_are(stage: Stage, client: httpx.Client) -> None:
    headers = {"authorization": "Bearer s3cret", "x-own": "s3cret", "cookie": "session=s3cret; other=1"}
    client.get("/x?token=s3cret&page=1", headers=headers)
    (call,) = stage.calls()[1]
    places = {"header authorization: Bearer", "header x-own", "query parameter token", "cookie session"}
    assert set(call.credentials) == places
    assert "s3cret" not in call.model_dump_json()
    assert call.path == "/x"


def test_where_a_callers_own_may_be_it_is_no_wrong_key_and_shown_as_little() -> None:
    """By this the simulation of any API tells a user's token from a key that is not good."""
    yields = Slot(CredentialPlace.HEADER, "x-user", "Bearer ", yields=True)
    scope = {"headers": [(b"x-user", b"Bearer theirs"), (b"x-own", b"s3cret")], "query_string": b""}
    seen = {each.label: each for each in found(scope, SLOTS | {yields})}
    assert {label: each.declared for label, each in seen.items()} == {
        "header x-user: Bearer": False,
        "header x-own": True,
    }
    assert seen["header x-user: Bearer"].value == "theirs"


def test_scripts_are_worked_off_in_turn_by_the_calls_that_they_are_for(stage: Stage, client: httpx.Client) -> None:
    stage.add(Script(status=503, times=2, path="/a"))
    stage.add(Script(status=500, until="cleared", method="POST"))
    assert stage.record().faults == 2
    seen = [client.get(path).status_code for path in ("/b", "/a/1", "/a/2", "/a/3")]
    assert seen == [200, 503, 503, 200]
    assert [client.post("/b").status_code for _ in range(3)] == [500, 500, 500]
    stage.clear()
    assert client.post("/b").status_code == 200
    assert [each.fault for each in stage.calls()[1]] == [
        None, "status 503", "status 503", None, "status 500", "status 500", "status 500", None,
    ]  # fmt: skip


def test_a_cut_connection_is_no_answer(stage: Stage, client: httpx.Client) -> None:
    stage.add(Script(reset=True))
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/")
    assert client.get("/").status_code == 200


def test_a_wait_is_said_in_the_providers_way(stage: Stage, client: httpx.Client) -> None:
    stage.add(Script(status=429, retry_info="1500ms"))
    answer = client.get("/")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"times": 3},
        {"status": 503, "reset": True},
        {"hang": True, "reset": True},
        {"hang": True, "body": "x"},
        {"latency": "1s", "retryInfo": "1s"},
        {"status": 503, "times": 1, "until": "cleared"},
        {"status": 99},
        {"status": 503, "times": 0},
        {"status": 503, "retryInfo": "soon"},
        {"status": 503, "untill": "cleared"},
    ],
)
def test_scripts_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Script.model_validate(wrong)


def test_keys_stay_good_and_the_invalid_one_never_is() -> None:
    keys = Keys()
    keys.add([SecretValue(b"one"), SecretValue(b"invalid")])
    keys.add([SecretValue(b"two")])
    assert [each in keys for each in ("one", "two", "invalid", "three", "", 1)] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("headers", "pauses"),
    [
        ([(b"content-type", b"text/event-stream")], 2),
        ([(b"Content-Type", b"application/json; charset=UTF-8")], 2),
        ([(b"content-type", b"application/json"), (b"content-length", b"3")], 0),
        ([(b"content-type", b"application/octet-stream")], 0),
        ([], 0),
    ],
)
def test_a_stream_comes_a_piece_at_a_time_and_all_else_at_once(
    headers: list[tuple[bytes, bytes]], pauses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    sent: list[Message] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def send(message: Message) -> None:
        sent.append(message)

    async def answer() -> None:
        sending = paced(send)
        for message in messages:
            await sending(message)

    messages: list[Message] = [{"type": "http.response.start", "status": 200, "headers": headers}]
    messages += [{"type": "http.response.body", "body": body, "more_body": True} for body in (b"", b"1", b"2", b"3")]
    messages.append({"type": "http.response.body", "body": b"", "more_body": False})
    monkeypatch.setattr(asyncio, "sleep", sleep)
    asyncio.run(answer())
    assert sent == messages
    assert slept == [PACE] * pauses


def test_probes_see_what_calls_see_and_leave_it_as_it_was(stage: Stage, client: httpx.Client) -> None:
    probe = {"user-agent": "headgate-probe/1.2"}
    stage.add(Script(status=540, times=1))
    assert [client.get("/", headers=probe).status_code for _ in range(3)] == [540] * 3
    assert (stage.record().calls, stage.record().probes, stage.record().faults) == (0, 3, 1)
    assert client.get("/").status_code == 540
    assert client.get("/", headers=probe).status_code == 200
    assert (stage.record().calls, stage.record().probes, stage.calls()[0]) == (1, 4, 1)
    assert [call.number for call in stage.calls()[1]] == [1]
