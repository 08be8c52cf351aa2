"""A user's rights hold behind the gateway: real row-level security, asked through a gateway that has the secret key.

The gateway's key may see and change everything, so all that stands between a user and the rows of others is that the
user's own token gets through. Whatever is tried here, one rule holds: a call that carries a user's token is answered with
that user's rights, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from harness.headgate import Form, Headgate
from harness.http import Pairs, RawResponse, raw_exchange
from harness.supabase import ALICE, BOB, PUBLISHABLE_KEY, SECRET_KEY, Project, token, user

ALL = ["one of alice", "one of bob", "two of alice"]
OF_ALICE, OF_BOB = ["one of alice", "two of alice"], ["one of bob"]
NOTES = "/rest/v1/notes?select=body&order=body"
UNUSED = "a-key-that-is-none"
ALICES, BOBS = user(ALICE), user(BOB)
EXPIRED = token(sub=BOB, lifetime=-60)


@pytest.fixture(autouse=True)
def rows(project: Project, headgate: Headgate) -> Iterator[None]:
    """The same rows for each test. Afterwards: no user's token has given way to the gateway's key."""
    project.reset()
    yield
    for seen in project.edge.requests:
        assert seen.header_values("apikey") in ([SECRET_KEY], [PUBLISHABLE_KEY])
        assert b"apikey" not in seen.query


def bodies(status: int, body: bytes) -> list[str]:
    """The notes in an answer; none in a refusal, which is at least no way to see them."""
    if status != 200:
        assert b"of alice" not in body
        assert b"of bob" not in body
        return []
    return sorted(row["body"] for row in json.loads(body))


# What a user's token allows


@pytest.mark.parametrize("form", list(Form), ids=lambda form: f"{form.value}-form")
@pytest.mark.parametrize("key", [None, UNUSED, PUBLISHABLE_KEY, SECRET_KEY, ALICES])
@pytest.mark.parametrize("upstream", ["app", "public", "retried"])
def test_a_user_sees_its_own_rows(headgate: Headgate, upstream: str, key: str | None, form: Form) -> None:
    """Whatever else it sends as its key, the real one and another user's token among it."""
    headers = {"authorization": f"Bearer {BOBS}", **({} if key is None else {"apikey": key})}
    answer = headgate.call(upstream, NOTES, form=form, headers=headers)
    assert answer.status_code == 200
    assert bodies(answer.status_code, answer.content) == OF_BOB


def test_a_user_changes_its_own_rows_only(headgate: Headgate, project: Project) -> None:
    headers = {"apikey": UNUSED, "authorization": f"Bearer {BOBS}", "prefer": "return=representation"}

    def call(method: str, path: str, **row: str) -> tuple[int, Any]:
        answer = headgate.call("app", f"/rest/v1{path}", method=method, headers=headers, json=row)
        return answer.status_code, answer.json()

    assert call("PATCH", "/notes?body=like.*alice", body="defaced") == (200, [])
    assert call("DELETE", "/notes?body=like.*alice") == (200, [])
    status, refused = call("POST", "/notes", owner=ALICE, body="planted")
    assert (status, refused["code"]) == (403, "42501")
    status, refused = call("PATCH", f"/notes?owner=eq.{BOB}", owner=ALICE)
    assert (status, refused["code"]) == (403, "42501")
    status, refused = call("GET", "/ledger")
    assert (status, refused["code"]) == (403, "42501")
    assert call("POST", "/rpc/whoami") == (200, {"role": "authenticated", "sub": BOB})
    assert call("POST", "/notes", body="two of bob")[0] == 201
    assert project.postgres.sql("select owner, body from notes order by body") == [
        (ALICE, "one of alice"),
        (BOB, "one of bob"),
        (ALICE, "two of alice"),
        (BOB, "two of bob"),
    ]


@pytest.mark.parametrize(
    "bearer", [EXPIRED, token(sub=BOB, secret="another project's secret, as long as ours"), "x.y.z"]
)
def test_a_token_that_does_not_count_is_no_users_and_not_the_keys(headgate: Headgate, bearer: str) -> None:
    """It is refused as the provider refuses it. Taking it for none would make more of an expired token than of a good one."""
    answer = headgate.call("app", NOTES, headers={"apikey": UNUSED, "authorization": f"Bearer {bearer}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "PGRST301")
    assert answer.headers["www-authenticate"].startswith("Bearer")


# What the gateway's key allows, where there is no user


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("apikey", UNUSED)],
        [("apikey", UNUSED), ("authorization", f"Bearer {UNUSED}")],
        [("apikey", PUBLISHABLE_KEY), ("authorization", f"Bearer {PUBLISHABLE_KEY}")],
        [("apikey", UNUSED), ("authorization", f"bearer {UNUSED}")],
    ],
    ids=["nothing", "key", "key-twice", "another-real-key-twice", "lower-case-scheme"],
)
@pytest.mark.parametrize(("upstream", "seen"), [("app", ALL), ("public", [])])
def test_without_a_user_the_key_decides(headgate: Headgate, headers: Pairs, upstream: str, seen: list[str]) -> None:
    answer = headgate.call(upstream, NOTES, headers=headers)
    assert answer.status_code == 200
    assert bodies(answer.status_code, answer.content) == seen


# Tricks: all of them carry Bob's token, some more besides

BEARER = f"Bearer {BOBS}"
COPY = f"Bearer {UNUSED}"
TRICKS: dict[str, Pairs] = {
    "lower-case-scheme": [("apikey", UNUSED), ("authorization", f"bearer {BOBS}")],
    "upper-case-scheme": [("apikey", UNUSED), ("AUTHORIZATION", f"BEARER {BOBS}")],
    "no-scheme": [("apikey", UNUSED), ("authorization", BOBS)],
    "another-scheme": [("apikey", UNUSED), ("authorization", f"Basic {BOBS}")],
    "a-tab": [("apikey", UNUSED), ("authorization", f"Bearer\t{BOBS}")],
    "two-headers-user-first": [("apikey", UNUSED), ("authorization", BEARER), ("authorization", COPY)],
    "two-headers-copy-first": [("apikey", UNUSED), ("authorization", COPY), ("authorization", BEARER)],
    "an-empty-one-first": [("apikey", UNUSED), ("authorization", ""), ("authorization", BEARER)],
    "an-empty-one-last": [("apikey", UNUSED), ("authorization", BEARER), ("authorization", "")],
    "joined-user-first": [("apikey", UNUSED), ("authorization", f"{BEARER}, {COPY}")],
    "joined-copy-first": [("apikey", UNUSED), ("authorization", f"{COPY}, {BEARER}")],
    "beside-a-guess": [
        ("apikey", SECRET_KEY[:-1]),
        ("authorization", BEARER),
        ("authorization", f"Bearer {SECRET_KEY[:-1]}"),
    ],
    "the-user-as-a-second-key": [("apikey", UNUSED), ("apikey", "more"), ("authorization", BEARER)],
    "two-users": [("apikey", UNUSED), ("authorization", BEARER), ("authorization", f"Bearer {token('anon')}")],
    "our-own-words": [
        ("authorization", BEARER),
        ("x-hg-yield", "1"),
        ("x-headgate-yield", "true"),
        ("x-hg-credential-1", "1"),
    ],
    "as-a-proxys": [("authorization", BEARER), ("proxy-authorization", COPY), ("x-forwarded-authorization", COPY)],
    "as-a-role": [("authorization", BEARER), ("role", "service_role"), ("x-role", "service_role")],
    "as-settings": [("authorization", BEARER), ("prefer", 'role=service_role, params="single-object"')],
    "another-method": [("authorization", BEARER), ("x-http-method-override", "OPTIONS")],
}


@pytest.mark.parametrize("upstream", ["app", "retried"])
@pytest.mark.parametrize("trick", TRICKS)
def test_no_header_widens_a_users_rights(headgate: Headgate, project: Project, trick: str, upstream: str) -> None:
    answer = headgate.raw(f"/default/{upstream}{NOTES}".encode(), headers=TRICKS[trick])
    _check(answer, project)


@pytest.mark.parametrize(
    "path",
    [
        f"{NOTES}&apikey={UNUSED}",
        f"{NOTES}&apikey={quote(SECRET_KEY)}",
        f"{NOTES}&apikey=",
        f"{NOTES}&apikey={UNUSED}&apikey={ALICES}",
        f"{NOTES}&APIKEY={UNUSED}&%61pikey={UNUSED}",
        f"{NOTES}&authorization={UNUSED}&access_token={UNUSED}",
        NOTES.replace("/rest", "//rest"),
        NOTES.replace("notes", "/notes"),
        NOTES.replace("notes", "./notes"),
        NOTES.replace("notes", "../v1/notes"),
        NOTES.replace("notes", "%6eotes"),
        NOTES.replace("/rest/v1", "/auth/v1/%2e%2e/%2e%2e/rest/v1"),
        NOTES.replace("/rest/v1", "/functions/v1/../../rest/v1"),
        NOTES.replace("/rest/v1", "/REST/v1"),
        NOTES.replace("/rest", "/rest;x=y"),
    ],
)
def test_no_address_widens_a_users_rights(headgate: Headgate, project: Project, path: str) -> None:
    answer = headgate.raw(b"/default/app" + path.encode(), headers=[("apikey", UNUSED), ("authorization", BEARER)])
    _check(answer, project)


@pytest.mark.parametrize(
    "lines",
    [
        [f"Authorization : {BEARER}"],
        [f"Authorization:{BEARER}", f" , {COPY}"],
        [f"authorization:\t {BEARER} \t"],
        [f"Authorization: Bearer {BOBS[:40]}", f" {BOBS[40:]}"],
        [f"Authorization: {BEARER}", "authorization:", f"AUTHORIZATION: {COPY}"],
        [f"\x0bAuthorization: {BEARER}"],
        [f"authorization_: {BEARER}", f"Authorization: {BEARER}"],
        [f"Authorization: {BEARER}\x00"],
    ],
    ids=["blank-before-colon", "folded", "blanks-around", "folded-within", "three", "odd-byte", "underscore", "nul"],
)
def test_no_odd_bytes_widen_a_users_rights(headgate: Headgate, project: Project, lines: list[str]) -> None:
    start = f"GET /default/app{NOTES} HTTP/1.1\r\nhost: 127.0.0.1:{headgate.port}\r\napikey: {UNUSED}\r\nconnection: close\r\n"
    data = (start + "\r\n".join([*lines, "", ""])).encode("latin-1")
    _check(raw_exchange(headgate.address, data), project)


def _check(answer: RawResponse, project: Project) -> None:
    """Bob's rows, or none; and where the call got through, his token did, and nothing of the gateway's with it."""
    assert bodies(answer.status, answer.body) in (OF_BOB, [])
    for seen in project.edge.requests:
        given = ",".join(seen.header_values("authorization"))
        assert BOBS in given.replace(" ", "")
        assert SECRET_KEY not in given


def test_no_trailer_widens_a_users_rights(headgate: Headgate, project: Project) -> None:
    head = f"POST /default/app/rest/v1/rpc/whoami HTTP/1.1\r\nhost: 127.0.0.1:{headgate.port}\r\napikey: {UNUSED}\r\n"
    fields = f"authorization: {BEARER}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n"
    rest = f"te: trailers\r\ntrailer: authorization\r\nconnection: close\r\n\r\n2\r\n{{}}\r\n0\r\nauthorization: {COPY}\r\n\r\n"
    answer = raw_exchange(headgate.address, (head + fields + rest).encode(), method="POST")
    assert (answer.status, json.loads(answer.body)) == (200, {"role": "authenticated", "sub": BOB})


@pytest.mark.parametrize(("upstream", "seen"), [("app", ALL), ("public", [])])
@pytest.mark.parametrize(
    "headers",
    [
        # What `Connection` names is for the first hop only (RFC 9110, 7.6.1): Envoy removes it before all else.
        [("apikey", UNUSED), ("authorization", BEARER), ("connection", "authorization")],
        [("authorization", BEARER), ("connection", "close, AUTHORIZATION, apikey")],
        # The same text in both places is how clients say that there is no user.
        [("apikey", BOBS), ("authorization", BEARER)],
    ],
    ids=["taken-back", "taken-back-with-the-key", "as-its-own-key"],
)
def test_a_caller_that_hides_its_user_has_none(
    headgate: Headgate, project: Project, headers: Pairs, upstream: str, seen: list[str]
) -> None:
    """The limit of it: whoever may leave the token out gets what the key allows. So where users choose the headers of
    calls, the gateway should have the publishable key, with which a call without a user sees what anybody may.
    """
    answer = headgate.raw(f"/default/{upstream}{NOTES}".encode(), headers=headers)
    assert bodies(answer.status, answer.body) == seen
    assert BOBS not in str(project.edge.requests)


def test_a_header_with_nothing_in_it_is_not_a_user_and_gets_no_more_than_a_stranger(headgate: Headgate) -> None:
    """What clients send whose user has just signed out: it reads as a user without a token, not as the server itself."""
    for value in ("", "Bearer", "Bearer "):
        answer = headgate.raw(b"/default/app" + NOTES.encode(), headers=[("apikey", UNUSED), ("authorization", value)])
        assert bodies(answer.status, answer.body) == []


def test_users_do_not_mix_on_shared_connections(headgate: Headgate, project: Project) -> None:
    """Calls of the server and of users by turns, over the same connections to the provider."""
    expected = {None: ALL, ALICES: OF_ALICE, BOBS: OF_BOB}
    for turn in range(30):
        bearer = list(expected)[turn % 3]
        headers = {} if bearer is None else {"authorization": f"Bearer {bearer}"}
        answer = headgate.call("app", NOTES, headers=headers)
        assert bodies(answer.status_code, answer.content) == expected[bearer]
    assert len({seen.peer for seen in project.edge.requests}) < 30
