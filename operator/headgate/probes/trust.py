"""TLS of probes: the same CAs, names and client certificates as the proxies have. Contexts are kept, since one with all
well-known CAs takes some 20 ms to make."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from headgate.control.questions import Trust
from headgate.model.plan import SubjectAltName

#: So many contexts are kept.
KEPT = 64


class Contexts:
    """TLS contexts by what is trusted; on one event loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[object, ssl.SSLContext] = OrderedDict()
        self._making = asyncio.Lock()

    async def of(self, trust: Trust) -> ssl.SSLContext:
        """The context for it. ssl.SSLError if CAs or certificate can't be used."""
        key = (trust.roots, trust.certificate, trust.subject_alt_names)
        if key not in self._kept:
            async with self._making:  # once, though many want it
                if key not in self._kept:
                    self._kept[key] = await asyncio.to_thread(_made, trust)
        self._kept.move_to_end(key)
        context = self._kept[key]
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return context


def _made(trust: Trust) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.load_verify_locations(cadata=trust.roots.reveal().decode("ascii", "replace"))
    context.set_alpn_protocols(["http/1.1"])
    if trust.subject_alt_names:
        # The names that were declared are looked for, in place of the one that is called.
        context.check_hostname = False
        context.sslobject_class = _checking(trust.subject_alt_names)
    if trust.certificate is not None:
        _load(context, trust.certificate[0].reveal(), trust.certificate[1].reveal())
    return context


def _load(context: ssl.SSLContext, chain: bytes, key: bytes) -> None:
    """Give the context a certificate. It takes files only; this one is in memory and nowhere else."""
    descriptor = os.memfd_create("headgate-probe", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(chain.strip() + b"\n" + key.strip() + b"\n")
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _checking(names: Sequence[SubjectAltName]) -> type[ssl.SSLObject]:
    class Checking(ssl.SSLObject):
        """Looks for the names before anything is sent."""

        def do_handshake(self) -> None:
            super().do_handshake()
            if not carries(self.getpeercert() or {}, names):
                problem = ssl.SSLCertVerificationError("the certificate has none of the names that are asked for")
                problem.verify_message = "the certificate has none of the names that are asked for"
                raise problem

    return Checking


def carries(certificate: Mapping[str, Any], names: Sequence[SubjectAltName]) -> bool:
    """Whether a certificate, as `getpeercert` gives it, has one of the names."""
    found = [(str(kind), str(value)) for kind, value in certificate.get("subjectAltName", ())]
    dns = [value.lower() for kind, value in found if kind == "DNS"]
    uris = [value for kind, value in found if kind == "URI"]
    return any((name.dns and any(_fits(each, name.dns) for each in dns)) or name.uri in uris for name in names)


def _fits(pattern: str, name: str) -> bool:
    """A name of a certificate may have `*` as its first part."""
    if pattern.startswith("*."):
        return name.partition(".")[2] == pattern[2:]
    return pattern == name.lower()
