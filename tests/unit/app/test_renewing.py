"""The port's own certificate as its root comes to an end: the loop goes on, and other tasks with it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt

import pytest

from harness.kube import until
from headgate.app import renewing
from headgate.app.renewing import keep_renewed, renew
from headgate.xds.pki import CertificateAuthority, ServerTls
from headgate.xds.storage import Memory


def authority(**left: float) -> CertificateAuthority:
    return CertificateAuthority(Memory(), root_lifetime=dt.timedelta(**left))


async def test_certificates_of_a_root_that_is_about_to_run_out_take_nobodys_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(renewing, "REST", 0.01)
    tls, count = ServerTls(authority(minutes=1)), [0]

    def renewed() -> None:
        count[0] += 1

    assert tls.current.credential.renew_at < dt.datetime.now(dt.UTC)
    task = asyncio.create_task(keep_renewed(tls, renewed))
    await until(lambda: count[0] > 2, "renewed, while this goes on")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_without_a_root_the_present_certificate_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    now = dt.datetime.now(dt.UTC)
    root = CertificateAuthority(Memory(), root_lifetime=dt.timedelta(days=1), clock=lambda: now)
    tls = ServerTls(root)
    before = tls.current
    now += dt.timedelta(days=2)
    assert not renew(tls)
    assert tls.current is before
    with pytest.raises(ValueError, match="run out"):
        ServerTls(root)
