"""A credential that yields: a user's own token always passes, and only nothing, or a copy of the key, gives way to ours.

`ANON` is what callers have for a key, `KEY` what the gateway has, `JWT` a user's token. Where the caller sent anything that
is no copy of its key, `KEY` is not in `Authorization`; and what can't be read as one token doesn't arrive at all, for the
provider might take it for nothing and go by the key.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from websockets.sync.client import connect

from harness.dataplane import DataPlane
from harness.http import Pairs, raw_request
from harness.plans import endpoint, gateway, opaque, retry, section, upstream
from headgate.model.plan import Credential, CredentialPlace, Gateway, HeaderRules, Section
from headgate.simulate.behaviours import Call, respond, sequence, statuses, websocket_echo
from headgate.simulate.recording import RecordedRequest
from headgate.simulate.server import FakeServer

ANON, KEY = "sb_publishable_anon", "sb_secret_4711"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl"
OURS = f"Bearer {KEY}"

PLACE = CredentialPlace
APIKEY = Credential("key", "demo/keys#key", PLACE.HEADER, "apikey")
TOKEN = Credential("token", "demo/keys#key", PLACE.HEADER, "Authorization", "Bearer ", yields=True)


def _section(port: int, key: str, *credentials: Credential, **changes: object) -> Section:
    values: dict[str, object] = {"strip_query": ("apikey",), "upgrades": ("websocket",)}
    return section(endpoint(port), key=key, credentials=credentials or (APIKEY, TOKEN), **(values | changes))


def _gateway(*sections: Section, value: str | None = KEY) -> Gateway:
    secrets = [] if value is None else [opaque("demo/keys#key", value)]
    return gateway(*(upstream(each) for each in sections), secrets=secrets)


@dataclass(frozen=True)
class World:
    plane: DataPlane
    provider: FakeServer

    def send(self, *headers: tuple[str, str], key: str = "demo/api", target: str = "/x") -> tuple[int, RecordedRequest]:
        """One call in each form of address; both arrive alike. The second one's record."""
        name, namespace = key.partition("/")[::-1][0], key.partition("/")[0]
        seen = []
        for host, path in ((f"{name}.{namespace}", target), ("localhost", f"/{key}{target}")):
            before = len(self.provider.requests)
            status = self._raw(path, host, headers)
            arrived = self.provider.requests[before:]
            if not arrived:
                return status, None  # type: ignore[return-value]
            seen.append(arrived[0])
        first, second = ([pair for pair in each.headers if pair[0] != "host"] for each in seen)
        assert first == second
        assert seen[0].target == seen[1].target
        return status, seen[1]

    def refuses(self, *headers: tuple[str, str], key: str = "demo/api") -> bool:
        """Whether such a call is answered 401 by the gateway, in both forms, and nothing of it arrives."""
        before = len(self.provider.requests)
        name, namespace = key.partition("/")[::-1][0], key.partition("/")[0]
        ways = ((f"{name}.{namespace}", "/x"), ("localhost", f"/{key}/x"))
        statuses = {self._raw(path, host, headers) for host, path in ways}
        return statuses == {401} and len(self.provider.requests) == before

    def _raw(self, path: str, host: str, headers: Pairs) -> int:
        return raw_request(("127.0.0.1", self.plane.port), path.encode(), host=host, headers=headers).status


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with FakeServer() as provider:
        port = provider.port
        basic = Credential("bare", "demo/keys#key", PLACE.HEADER, "x-token", yields=True)
        served = _gateway(
            _section(port, "demo/api/default"),
            _section(port, "demo/again/default", retry=retry(503, attempts=3)),
            _section(port, "demo/query/default", Credential("q", "demo/keys#key", PLACE.QUERY, "apikey"), TOKEN),
            _section(port, "demo/cookie/default", Credential("c", "demo/keys#key", PLACE.COOKIE, "sid"), TOKEN),
            _section(port, "demo/bare/default", replace(APIKEY, prefix="Key "), basic),
            _section(port, "demo/listed/default", strip_request_headers=("authorization", "apikey")),
            _section(port, "demo/removed/default", request_headers=HeaderRules(remove=("authorization",))),
        )
        with DataPlane(served) as plane:
            yield World(plane, provider)
            assert plane.lua_errors() == 0, plane.envoy.log()


#: What the caller sends as `Authorization`, beside `apikey: ANON`, and what arrives there; nothing does of what is refused.
REFUSED: list[str] = []
SENT: dict[str, tuple[list[str], list[str]]] = {
    "nothing": ([], [OURS]),
    "a-copy": ([f"Bearer {ANON}"], [OURS]),
    "a-copy-without-scheme": ([ANON], [OURS]),
    "lower-case-scheme": ([f"bearer {ANON}"], [OURS]),
    "upper-case-scheme": ([f"BEARER {ANON}"], [OURS]),
    "two-blanks": ([f"Bearer  {ANON}"], [OURS]),
    "a-tab": ([f"Bearer\t{ANON}"], [OURS]),
    "blanks-behind": ([f"Bearer {ANON} \t"], [OURS]),
    "a-users-token": ([f"Bearer {JWT}"], [f"Bearer {JWT}"]),
    "a-users-token-lower-case": ([f"bearer {JWT}"], [f"Bearer {JWT}"]),
    "a-users-token-after-a-tab": ([f"Bearer\t {JWT}"], [f"Bearer {JWT}"]),
    "a-users-token-without-scheme": ([JWT], REFUSED),
    "another-case-of-the-key": ([f"Bearer {ANON.upper()}"], [f"Bearer {ANON.upper()}"]),
    "more-than-the-key": ([f"Bearer {ANON}x"], [f"Bearer {ANON}x"]),
    "less-than-the-key": ([f"Bearer {ANON[:-1]}"], [f"Bearer {ANON[:-1]}"]),
    "two-words": ([f"Bearer {ANON} {JWT}"], REFUSED),
    "no-blank": ([f"Bearer{ANON}"], REFUSED),
    "another-scheme": ([f"Basic {ANON}"], REFUSED),
    "twice-the-scheme": ([f"Bearer Bearer {ANON}"], REFUSED),
    "only-the-scheme": (["Bearer"], REFUSED),
    "empty": ([""], REFUSED),
    "joined-by-a-comma": ([f"Bearer {ANON},Bearer {JWT}"], REFUSED),
    "joined-copies": ([f"Bearer {ANON}, Bearer {ANON}"], REFUSED),
    "ours-as-if-guessed": ([f"Bearer {KEY}x"], [f"Bearer {KEY}x"]),
}


@pytest.mark.parametrize("key", ["demo/api", "demo/listed"])
@pytest.mark.parametrize("trick", SENT)
def test_what_passes_and_what_gives_way(world: World, trick: str, key: str) -> None:
    sent, arrived = SENT[trick]
    headers = [("apikey", ANON), *(("Authorization", value) for value in sent)]
    if arrived is REFUSED:
        assert world.refuses(*headers, key=key)
        return
    status, seen = world.send(*headers, key=key)
    assert status == 200
    assert seen.header_values("authorization") == arrived
    assert seen.header_values("apikey") == [KEY]
    assert not [name for name, _ in seen.headers if name.startswith(("x-hg-", "x-headgate-"))]


@pytest.mark.parametrize(
    "values",
    [(f"Bearer {ANON}", f"Bearer {JWT}"), (f"Bearer {JWT}", f"Bearer {ANON}"), (f"Bearer {ANON}",) * 2, ("", "")],
)
def test_several_are_refused(world: World, values: tuple[str, ...]) -> None:
    headers = [("apikey", ANON), *(("authorization", value) for value in values)]
    assert world.refuses(*headers)


def test_a_refusal_says_what_is_wrong_and_repeats_nothing_of_it(world: World) -> None:
    answer = world.plane.call("demo/api", "/x", headers=[("apikey", ANON), ("authorization", JWT)])
    assert (answer.status_code, answer.headers["x-should-retry"]) == (401, "false")
    error = answer.json()["error"]
    assert (error["code"], error["section"]) == ("CredentialUnreadable", "demo/api/default")
    assert "'Bearer ...'" in error["message"]
    assert JWT not in answer.text
    assert ANON not in answer.text


def test_a_key_alone_gets_both(world: World) -> None:
    """As the vendor's own clients send it without a user, and a caller that knows nothing of keys."""
    for headers in ([("apikey", ANON)], [("ApiKey", "")], []):
        _, seen = world.send(*headers)
        assert (seen.header_values("apikey"), seen.header_values("authorization")) == ([KEY], [OURS])


@pytest.mark.parametrize("headers", [[], [("apikey", "")], [("apikey", "other")]])
def test_a_token_without_a_key_or_beside_another_one_passes(world: World, headers: list[tuple[str, str]]) -> None:
    for value in (f"Bearer {JWT}", f"Bearer {ANON}"):
        _, seen = world.send(*headers, ("authorization", value))
        assert seen.header_values("authorization") == [value]
    for value in ("Bearer ", ""):
        assert world.refuses(*headers, ("authorization", value))


@pytest.mark.parametrize("value", ["one", "two"])
def test_of_several_keys_a_copy_of_either_is_a_copy(world: World, value: str) -> None:
    """Text in the place of a key is a key: no user's token gets there."""
    copy = ("authorization", f"Bearer {value}")
    assert world.send(("apikey", "one"), ("apikey", "two"), copy)[1].header_values("authorization") == [OURS]
    assert world.send(("apikey", "one"), copy, target="/x?apikey=two")[1].header_values("authorization") == [OURS]
    assert world.send(copy, target="/x?apikey=one&a=1&apikey=two")[1].header_values("authorization") == [OURS]


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("apikey=a-b_c", "a-b_c"),
        ("a=1&apikey=%61%2Db_c", "a-b_c"),
        ("%61pikey=x", "x"),
        ("apikey=a%2Fb%3D%3D", "a/b=="),
        ("apikey=a/b==", "a/b=="),
        ("apikey=a+b", "a+b"),
        ("apikey=a%2Bb", "a+b"),
        ("apikey=a+b", "a b"),
    ],
)
def test_a_key_in_the_query_is_compared_decoded(world: World, query: str, value: str) -> None:
    status, seen = world.send(("authorization", f"Bearer {value}"), target=f"/x?{query}")
    assert status == 200
    assert seen.header_values("authorization") == [OURS]
    assert b"key" not in seen.query
    _, seen = world.send(("authorization", f"Bearer {JWT}"), target=f"/x?{query}")
    assert seen.header_values("authorization") == [f"Bearer {JWT}"]


@pytest.mark.parametrize("query", ["key=token", "Apikey=token", "apikeys=token", "apikey", "x=apikey=token"])
def test_other_parameters_are_no_keys(world: World, query: str) -> None:
    _, seen = world.send(("authorization", "Bearer token"), target=f"/x?{query}")
    assert seen.header_values("authorization") == ["Bearer token"]


def test_a_key_in_the_query_or_a_cookie_by_declaration(world: World) -> None:
    copy, user = ("authorization", f"Bearer {ANON}"), ("authorization", f"Bearer {JWT}")
    for sent, arrived in ((copy, OURS), (user, user[1])):
        _, seen = world.send(sent, key="demo/query", target=f"/x?apikey={ANON}")
        assert (seen.query, seen.header_values("authorization")) == (f"apikey={KEY}".encode(), [arrived])
        _, seen = world.send(sent, ("cookie", f"a=1; sid={ANON}"), key="demo/cookie")
        assert (seen.header("cookie"), seen.header_values("authorization")) == (f"a=1; sid={KEY}", [arrived])
        # There the header of that name is not the key.
        _, seen = world.send(sent, ("sid", ANON), key="demo/cookie")
        assert seen.header_values("authorization") == [sent[1]]


@pytest.mark.parametrize(("sent", "arrived"), [(f"Key {ANON}", KEY), (ANON, KEY), (f"key\t{ANON}", f"key\t{ANON}")])
def test_prefixes_are_those_of_the_credentials(world: World, sent: str, arrived: str) -> None:
    """The key has a prefix, the yielding header none: its text is compared with the key's, prefix or not."""
    _, seen = world.send(("apikey", f"Key {ANON}"), ("x-token", sent), key="demo/bare")
    assert (seen.header("apikey"), seen.header("x-token")) == (f"Key {KEY}", arrived)


def test_headers_with_underscores_are_refused(world: World) -> None:
    for name in ("api_key", "authorization_", "x_authorization"):
        assert world.send((name, ANON))[0] == 400


@pytest.mark.parametrize("name", ["x-hg-yield", "x-headgate-yield", "x-hg-credential-1"])
def test_no_header_of_the_callers_decides(world: World, name: str) -> None:
    _, seen = world.send(("apikey", ANON), ("authorization", f"Bearer {JWT}"), (name, "authorization"))
    assert seen.header_values("authorization") == [f"Bearer {JWT}"]


def test_what_a_declaration_removes_is_not_put_back_as_ours(world: World) -> None:
    _, seen = world.send(("authorization", f"Bearer {JWT}"), key="demo/removed")
    assert seen.header_values("authorization") == []


def test_a_websocket_with_its_key_in_the_query(world: World) -> None:
    world.provider.on("/socket", websocket_echo())
    url = f"ws://127.0.0.1:{world.plane.port}/demo/api/socket?apikey={ANON}&vsn=1"
    for headers, arrived in (({}, OURS), ({"authorization": f"Bearer {JWT}"}, f"Bearer {JWT}")):
        with connect(url, proxy=None, additional_headers=headers) as socket:
            socket.send("hello")
            assert socket.recv(timeout=10) == "hello"
        seen = world.provider.requests[-1]
        assert (seen.query, seen.header("apikey"), seen.header("authorization")) == (b"vsn=1", KEY, arrived)


# Attempts


@pytest.mark.parametrize(("sent", "arrived"), [([], OURS), ([f"Bearer {ANON}"], OURS), ([f"Bearer {JWT}"],) * 2])
def test_every_attempt_sends_the_same(world: World, sent: list[str], arrived: str | list[str]) -> None:
    world.provider.on("/flaky", statuses("503,503,503,200"))
    before = len(world.provider.requests)
    headers = [("apikey", ANON), *(("authorization", value) for value in sent)]
    assert world.plane.call("demo/again", "/flaky", headers=headers).status_code == 200
    seen = world.provider.requests[before:]
    assert len(seen) == 4
    for each in seen:
        assert each.header_values("apikey") == [KEY]
        assert each.header_values("authorization") == ([arrived] if isinstance(arrived, str) else arrived)


@pytest.mark.parametrize("sent", [None, f"Bearer {ANON}", f"Bearer {JWT}"])
def test_an_attempt_after_a_rotation_sends_the_new_key_in_both_places(sent: str | None) -> None:
    """The first attempt is answered when the new key is in use: the second one must not repeat the old one anywhere."""
    rotated = threading.Event()

    async def slowly(call: Call) -> None:
        await call.drain()
        await asyncio.get_running_loop().run_in_executor(None, rotated.wait, 20)
        await respond(503)(call)

    with FakeServer() as provider:
        provider.on("/slow", sequence(slowly, respond(200)))
        tried = _section(provider.port, "demo/api/default", retry=retry(503))
        headers = [("apikey", ANON), *([("authorization", sent)] if sent else [])]
        with DataPlane(_gateway(tried)) as plane:
            answers: list[int] = []
            call = threading.Thread(
                target=lambda: answers.append(plane.call("demo/api", "/slow", headers=headers).status_code)
            )
            call.start()
            provider.wait_for(1)
            plane.update(_gateway(tried, value="rotated"))
            plane.wait_until(
                lambda: (
                    plane.call("demo/api").status_code == 200 and provider.requests[-1].header("apikey") == "rotated"
                ),
                "the new key to be used",
            )
            rotated.set()
            call.join(timeout=20)
        assert answers == [200]
    first, second = (seen for seen in provider.requests if seen.raw_path == b"/slow")
    own = sent == f"Bearer {JWT}"
    assert (first.header("apikey"), second.header("apikey")) == (KEY, "rotated")
    assert first.header_values("authorization") == [sent if own else OURS]
    assert second.header_values("authorization") == [sent if own else "Bearer rotated"]


def test_a_missing_secret_fails_closed() -> None:
    """Nothing leaves with the caller's key, nor without one; a user's token is no key either."""
    with (
        FakeServer() as provider,
        DataPlane(_gateway(_section(provider.port, "demo/api/default"), value=None)) as plane,
    ):
        for headers in ([], [("apikey", ANON), ("authorization", f"Bearer {ANON}")]):
            assert plane.call("demo/api", headers=headers).status_code in (401, 503)
        assert plane.call("demo/api", headers={"authorization": f"Bearer {JWT}"}).status_code in (401, 503)
        assert not provider.requests


def test_a_missing_secret_of_the_yielding_one_alone_fails_closed() -> None:
    with FakeServer() as provider:
        lacking = _section(provider.port, "demo/api/default", APIKEY, replace(TOKEN, secret="demo/absent"))
        with DataPlane(_gateway(lacking)) as plane:
            for headers in ([], [("apikey", ANON), ("authorization", f"Bearer {ANON}")]):
                assert plane.call("demo/api", headers=headers).status_code in (401, 503)
            assert not provider.requests
            # A user's call needs nothing of it.
            assert plane.call("demo/api", headers={"authorization": f"Bearer {JWT}"}).status_code == 200
        assert provider.requests[-1].header("authorization") == f"Bearer {JWT}"
