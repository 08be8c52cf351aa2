"""Calls, what goes wrong with them, and how access is found."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from fakes.apiserver import FakeApiServer
from harness.kube import secret, upstream
from headgate.kube.access import Access, NoAccess, bearer
from headgate.kube.client import Api, Refused, Unreachable
from headgate.kube.pace import AWAY, Pace
from headgate.kube.reading import data, seen, status
from headgate.kube.resources import CONFIG_MAPS, NAMESPACES, OURS, SECRETS
from headgate.model.refs import ObjectRef

UPSTREAMS = OURS["UpstreamService"]


def test_paths() -> None:
    assert UPSTREAMS.path() == "/apis/headgate.dev/v1alpha1/upstreams"
    assert UPSTREAMS.path("a", "b", "status") == "/apis/headgate.dev/v1alpha1/namespaces/a/upstreams/b/status"
    assert SECRETS.path("a", "x/../y") == "/api/v1/namespaces/a/secrets/x%2F..%2Fy"
    assert NAMESPACES.path("ignored", "n") == "/api/v1/namespaces/n"
    assert (str(UPSTREAMS), str(SECRETS)) == ("upstreams.headgate.dev", "secrets")


async def test_pages(api: Api) -> None:
    for number in range(7):
        await api.create(UPSTREAMS, upstream("team", f"u{number}"))
    sizes = [len(page.items) async for page in api.pages(UPSTREAMS, limit=3)]
    assert sizes == [3, 3, 1]


async def test_what_goes_wrong(server: FakeApiServer, api: Api, access: Access) -> None:
    with pytest.raises(Refused) as found:
        await api.get(UPSTREAMS, "team", "missing")
    assert (found.value.status, found.value.reason, found.value.temporary) == (404, "NotFound", False)
    await api.create(UPSTREAMS, upstream("team", "a"))
    with pytest.raises(Refused, match="409"):
        await api.create(UPSTREAMS, upstream("team", "a"))
    for code, temporary in ((429, True), (500, True), (403, False)):
        server.answers[("GET", UPSTREAMS.path("team"))] = (code, 0.0)
        before = len(server.requests)
        with pytest.raises(Refused) as found:
            await api.get(UPSTREAMS, "team", "a")
        assert found.value.temporary is temporary
        assert found.value.retry_after == (0.0 if code == 429 else None)
        assert len(server.requests) == before + 1, "who calls knows when to try again"
    server.answers[("GET", UPSTREAMS.path("team"))] = (200, 5.0)
    async with await Api.open(access, limit=0.1) as hasty:
        with pytest.raises(Unreachable):
            await hasty.get(UPSTREAMS, "team", "a")
    server.answers.clear()
    server.up = False
    with pytest.raises(Unreachable):
        await api.get(UPSTREAMS, "team", "a")


async def test_a_watch_that_says_nothing_is_dead(api: Api) -> None:
    events = api.watch(UPSTREAMS, None, "1000", seconds=60, quiet=0.1)
    with pytest.raises(Unreachable, match="broke off"):
        await anext(events)


async def test_tokens(server: FakeApiServer, tmp_path: Path) -> None:
    configuration = await Access(server.kubeconfig(tmp_path, token="secret-token")).configuration()
    assert bearer(configuration) == ("Bearer", "secret-token")
    configuration = await Access(server.kubeconfig(tmp_path)).configuration()
    assert bearer(configuration) is None


async def test_no_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoAccess, match="give a kubeconfig"):
        await Access(tmp_path / "missing").configuration()
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with pytest.raises(NoAccess):
        await Access().configuration()


def test_pace_doubles_and_heeds_the_server() -> None:
    pace = Pace(1.0, 8.0)
    waits = [pace.wait() for _ in range(6)]
    for wait, most in zip(waits, (1, 2, 4, 8, 8, 8), strict=True):
        assert most / 2 <= wait <= most
    assert pace.wait(Refused(429, retry_after=60.0)) == 60.0
    pace.reset()
    assert pace.wait() <= 1.0


def test_a_server_that_does_not_answer_is_asked_again_soon() -> None:
    """However long it was away: what was changed at its return is not to wait for half a minute."""
    pace = Pace()
    waits = [pace.wait(Unreachable("nobody there")) for _ in range(20)]
    assert waits[0] <= 0.5
    assert max(waits) <= AWAY
    assert sum(waits[10:]) >= 10 * AWAY / 2


def test_revision_changes_with_what_compile_sees() -> None:
    ref = ObjectRef("UpstreamService", "team", "a")
    meta = {"name": "a", "namespace": "team", "uid": "1", "generation": 2, "resourceVersion": "7", "labels": {"x": "y"}}
    whole = {**upstream("team", "a"), "metadata": meta}
    first = seen(ref, whole).put

    def other(**change: object) -> str:
        return seen(ref, {**whole, "metadata": {**meta, **change}}).put.revision

    assert seen(ref, {**whole, "status": {"host": "h"}, "metadata": {**meta, "resourceVersion": "8"}}).put == first
    assert len({first.revision, other(generation=3), other(uid="2"), other(labels={"x": "z"})}) == 4
    assert other(annotations={"a": "b"}) == first.revision
    assert status(ref, whole) is None
    found = status(ref, {**whole, "status": {"host": "h", "fieldOfTheFuture": 1}})
    assert found is not None
    assert found.document.host == "h"  # type: ignore[union-attr]


def test_data_is_wrapped() -> None:
    ref = ObjectRef("Secret", "team", "s")
    encoded = base64.b64encode(b"hush").decode()
    document = {**secret("team", "s"), "data": {"k": encoded, "bad": "*"}}
    found = data(ref, document)
    assert found.data["k"].reveal() == b"hush"
    assert list(found.data) == ["k"]
    assert "hush" not in repr(found)
    assert encoded not in repr(found)
    again = data(ref, {**document, "metadata": {"resourceVersion": "9"}})
    assert again.revision == found.revision
    config = {"metadata": {}, "data": {"ca.crt": "text"}, "binaryData": {"b": encoded}}
    values = data(ObjectRef("ConfigMap", "team", "c"), config).data
    assert {key: value.reveal() for key, value in values.items()} == {"ca.crt": b"text", "b": b"hush"}
    assert CONFIG_MAPS.kind == "ConfigMap"
