"""The xDS port's own certificate, kept fresh by the wall clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from headgate.xds.pki import ServerTls

_log = structlog.stdlib.get_logger("headgate.certificates")
#: Seconds: the clock is looked at so often, for it may be set; and between two certificates, for those of a root that is about
#: to run out are due as soon as they are issued.
LOOK, REST = 60.0, 10.0


async def keep_renewed(tls: ServerTls, renewed: Callable[[], None] = lambda: None) -> None:
    """Until cancelled. `renewed` is called after each renewal."""
    while True:
        due = (tls.current.credential.renew_at - datetime.now(UTC)).total_seconds()
        if due > 0:
            await asyncio.sleep(min(due, LOOK))
            continue
        if renew(tls):
            _log.info("certificate.renewed")
            renewed()
        await asyncio.sleep(REST)


def renew(tls: ServerTls) -> bool:
    """Whether there is another one now. Where there can't be, the present one stays."""
    try:
        tls.renew()
    except ValueError as error:
        _log.error("certificate.not_renewed", error=str(error))
        return False
    return True
