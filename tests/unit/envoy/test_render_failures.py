"""What can't be rendered holds up nothing else: it stays as it was, or is left out, and is told of."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.pki import Authority
from harness.plans import certificate, endpoint, gateway, opaque, roots, section, tls, upstream
from headgate.envoy import render as render_module
from headgate.envoy import secret as secret_module
from headgate.envoy.failure import LONGEST, failure
from headgate.envoy.render import Rendering, RenderMemo, render, rendering
from headgate.envoy.resource import TypeUrl
from headgate.model.plan import Credential, CredentialPlace, SecretMaterial, Upstream
from headgate.model.refs import ObjectRef

#: An upstream with an endpoint at this port can't be rendered, whatever is patched to raise.
ODD = 666
FUSE = ObjectRef("CircuitBreaker", "demo", "fuse")
RENDERERS = ("render_cluster", "render_routes", "render_scope", "forms")


def raising(sound: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def render_(what: Any) -> Any:
        for each in what.sections if isinstance(what, Upstream) else what if isinstance(what, tuple) else (what,):
            if any(endpoint.port == ODD for endpoint in each.endpoints):
                raise ZeroDivisionError("of all things")
        return sound(what)

    return render_


@pytest.fixture(params=RENDERERS)
def _broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_module, request.param, raising(getattr(render_module, request.param)))


def one(number: int, port: int, **changes: Any) -> Upstream:
    return upstream(section(endpoint(port), key=f"demo/u{number}/default", **changes))


def many(count: int = 5, **ports: int) -> list[Upstream]:
    return [one(number, ports.get(f"u{number}", 80), owners=(FUSE,)) for number in range(count)]


def names(done: Rendering, kind: TypeUrl) -> set[str]:
    return set(done.resources[kind])


@pytest.mark.usefixtures("_broken")
def test_the_version_before_stays_and_all_else_goes_on() -> None:
    memo = RenderMemo()
    first = rendering(gateway(*many()), memo)
    assert first.failures == ()
    # One can't be rendered; another changes, one goes, one comes.
    plan = gateway(*many(u2=ODD, u1=81)[:4], one(9, 80))
    done = rendering(plan, memo)
    (failed,) = done.failures
    assert failed.owners == (ObjectRef("UpstreamService", "demo", "u2"), FUSE)
    assert failed.words == (
        "UpstreamService demo/u2: ZeroDivisionError: of all things: the version before stays in force"
    )
    for kind in (TypeUrl.CLUSTER, TypeUrl.ROUTE, TypeUrl.SCOPED_ROUTE):
        suffix = "/default" if kind is TypeUrl.CLUSTER else ""
        assert names(done, kind) == {f"demo/u{number}{suffix}" for number in (0, 1, 2, 3, 9)}
        name = f"demo/u2{suffix}"
        assert done.resources[kind][name] is first.resources[kind][name]
    assert done.resources[TypeUrl.CLUSTER]["demo/u1/default"] != first.resources[TypeUrl.CLUSTER]["demo/u1/default"]

    # Nothing but the failure costs anything, nothing changes, and it is told again.
    rendered = memo.rendered
    again = rendering(plan, memo)
    assert memo.rendered == rendered + 1
    assert again.failures == done.failures
    assert all(again.resources[kind] is done.resources[kind] for kind in done.resources)

    mended = rendering(gateway(*many(u2=82)), memo)
    assert mended.failures == ()
    assert mended.resources == rendering(gateway(*many(u2=82)), RenderMemo()).resources


@pytest.mark.usefixtures("_broken")
def test_what_never_was_is_left_out_until_it_is_mended() -> None:
    memo = RenderMemo()
    done = rendering(gateway(*many(u2=ODD)), memo)
    assert [each.words for each in done.failures] == [
        "UpstreamService demo/u2: ZeroDivisionError: of all things: nothing of it is in force"
    ]
    for kind in (TypeUrl.CLUSTER, TypeUrl.ROUTE, TypeUrl.SCOPED_ROUTE):
        assert len(done.resources[kind]) == 4
    assert len(done.resources[TypeUrl.LISTENER]) == 1
    mended = rendering(gateway(*many()), memo)
    assert mended.failures == ()
    assert mended.resources == rendering(gateway(*many()), RenderMemo()).resources


@pytest.mark.usefixtures("_broken")
def test_one_that_failed_and_is_gone_is_forgotten() -> None:
    memo = RenderMemo()
    rendering(gateway(*many()), memo)
    rendering(gateway(*many(u4=ODD)), memo)
    done = rendering(gateway(*many(4)), memo)
    assert done.failures == ()
    assert done.resources == rendering(gateway(*many(4)), RenderMemo()).resources


@pytest.mark.usefixtures("_broken")
def test_who_wants_all_or_nothing_gets_the_error() -> None:
    with pytest.raises(ZeroDivisionError, match="of all things"):
        render(gateway(*many(u2=ODD)), RenderMemo())


def test_what_an_upstream_stays_on_keeps_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its new version declares others, and no one else the old ones."""
    monkeypatch.setattr(render_module, "render_routes", raising(render_module.render_routes))  # type: ignore[attr-defined]
    authority = Authority()
    identity = certificate(authority.client("us"), "demo/identity")

    def plan(secret: str, other: str = "x", *, port: int = 80, materials: tuple[SecretMaterial, ...]) -> Any:
        key = Credential("key", secret, CredentialPlace.HEADER, "authorization", "Bearer ")
        told = tls(client_certificate="demo/identity") if identity in materials else None
        odd = one(1, port, credentials=(key,), tls=told)
        return gateway(odd, one(2, 80, credentials=(replace(key, secret=other),)), secrets=materials)

    memo = RenderMemo()
    before = rendering(
        plan("one", materials=(opaque("one", "1"), opaque("x", "x"), identity, roots(authority.pem))), memo
    )
    assert names(before, TypeUrl.SECRET) == {"one|Bearer ", "x|Bearer ", "demo/identity", "test/roots"}
    held = rendering(plan("two", "y", port=ODD, materials=(opaque("two", "2"), opaque("y", "y"))), memo)
    assert len(held.failures) == 1
    assert names(held, TypeUrl.SECRET) == {"one|Bearer ", "y|Bearer ", "demo/identity", "test/roots"}
    for name in ("one|Bearer ", "demo/identity", "test/roots"):
        assert held.resources[TypeUrl.SECRET][name] is before.resources[TypeUrl.SECRET][name]
    again = rendering(plan("two", "y", port=ODD, materials=(opaque("two", "2"), opaque("y", "y"))), memo)
    assert again.resources[TypeUrl.SECRET] == held.resources[TypeUrl.SECRET]
    mended = rendering(plan("one", "y", materials=(opaque("one", "1"), opaque("y", "y"))), memo)
    assert names(mended, TypeUrl.SECRET) == {"one|Bearer ", "y|Bearer "}


def test_a_secret_that_fails_holds_up_no_other_and_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words of an error may well be what was not to be rendered."""
    sound = secret_module._generic

    def generic(name: str, prefix: str, material: SecretMaterial) -> Any:
        if b"odd" in material.value.reveal():
            raise ValueError(f"{material.value.reveal()!r} is not as it should be")
        return sound(name, prefix, material)

    monkeypatch.setattr(secret_module, "_generic", generic)
    credentials = [Credential("key", name, CredentialPlace.HEADER, "x-key") for name in ("one", "two")]
    served = [one(number, 80, credentials=(each,)) for number, each in enumerate(credentials)]

    def owned(name: str, value: str) -> SecretMaterial:
        return replace(opaque(name, value), owners=(FUSE,))

    memo = RenderMemo()
    before = rendering(gateway(*served, secrets=[owned("one", "1"), owned("two", "2")]), memo)
    plan = gateway(*served, secrets=[owned("one", "odd-one"), owned("two", "3")])
    done = rendering(plan, memo)
    (failed,) = done.failures
    assert failed.owners == (FUSE,)
    assert failed.words.startswith("secret one: ")
    assert failed.words.endswith("that is not quoted: the version before stays in force")
    assert "odd" not in failed.words + "".join(traceback.format_exception(failed.error))
    assert "in generic" in "".join(traceback.format_exception(failed.error))
    assert done.resources[TypeUrl.SECRET]["one"] is before.resources[TypeUrl.SECRET]["one"]
    assert done.resources[TypeUrl.SECRET]["two"] != before.resources[TypeUrl.SECRET]["two"]
    # The same plan once more: it is not taken for healed.
    assert rendering(plan, memo).failures == done.failures
    assert names(rendering(plan, RenderMemo()), TypeUrl.SECRET) == {"two"}
    mended = rendering(gateway(*served, secrets=[owned("one", "4"), owned("two", "3")]), memo)
    assert mended.failures == ()
    assert mended.resources[TypeUrl.SECRET]["one"] != before.resources[TypeUrl.SECRET]["one"]


def test_a_listener_that_fails_is_the_gateways_own_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = render_module.render_listener  # type: ignore[attr-defined]

    def listener(of: Any) -> Any:
        if of.listener.port == ODD:
            raise ZeroDivisionError
        return sound(of)

    monkeypatch.setattr(render_module, "render_listener", listener)

    def plan(port: int, upstream_port: int = 80) -> Any:
        found = gateway(one(1, upstream_port))
        return replace(found, listener=replace(found.listener, port=port))

    memo = RenderMemo()
    without = rendering(plan(ODD), memo)
    assert not without.resources[TypeUrl.LISTENER]
    assert names(without, TypeUrl.ROUTE) == {"demo/u1"}
    assert [(each.owners, each.words) for each in without.failures] == [
        ((plan(ODD).ref,), "listener: ZeroDivisionError: nothing of it is in force")
    ]
    first = rendering(plan(8080), memo)
    assert first.failures == ()
    done = rendering(plan(ODD, 81), memo)
    assert [each.words for each in done.failures] == ["listener: ZeroDivisionError: the version before stays in force"]
    assert done.resources[TypeUrl.LISTENER] is first.resources[TypeUrl.LISTENER]
    assert done.resources[TypeUrl.CLUSTER] != first.resources[TypeUrl.CLUSTER]
    mended = rendering(plan(8081, 81), memo)
    assert mended.failures == ()
    assert mended.resources == rendering(plan(8081, 81), RenderMemo()).resources


def test_long_words_are_cut_off_and_stay_on_one_line() -> None:
    said = failure((FUSE,), "part", ValueError("many\n  " * 1_000), kept=False).words
    assert len(said) < LONGEST + 100
    assert "\n" not in said
    assert "many many" in said
