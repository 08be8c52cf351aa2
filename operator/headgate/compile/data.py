"""Secrets and ConfigMaps: finding what a declaration refers to, checking it, and falling back to what was used last.

Values pass through as SecretValue and never enter a message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from headgate.api.conditions import Reason
from headgate.compile import pem
from headgate.model.plan import SecretKind, SecretMaterial
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.snapshot import DataEntry, DataObject

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a data object can't be used."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What was found: `value` from the current object, or, with `outdated`, from the one used before. `trouble` is what
    is wrong with the current one. `version`: of the object that it was taken from."""

    material: SecretMaterial | None
    trouble: Trouble | None
    outdated: bool = False
    version: str = ""


def take(
    data: Mapping[ObjectRef, DataEntry], ref: ObjectRef, read: Callable[[DataObject], SecretMaterial | Trouble]
) -> Taken:
    """Read from the current object, else from the last good one."""
    entry = data.get(ref)
    current = entry.current if entry is not None else None
    found = _missing(ref) if current is None else read(current)
    if not isinstance(found, Trouble):
        return Taken(found, None, version=current.version if current is not None else "")
    good = entry.last_good if entry is not None else None
    older = read(good) if good is not None else found
    if isinstance(older, Trouble):
        return Taken(None, found)
    trouble = Trouble(found.reason, f"{found.message}; the value used last stays in force")
    return Taken(older, trouble, outdated=True, version=good.version if good is not None else "")


def _missing(ref: ObjectRef) -> Trouble:
    return Trouble(Reason.SECRET_NOT_FOUND, f"there is no {ref}: create it, or mend the name")


def _key(source: DataObject, key: str) -> SecretValue | Trouble:
    value = source.data.get(key)
    if value is None:
        has = f"it has {', '.join(sorted(source.data))}" if source.data else "it is empty"
        return Trouble(Reason.SECRET_KEY_NOT_FOUND, f"{source.ref} has no key {key}: {has}")
    return value


def credential(ref: ObjectRef, key: str) -> Callable[[DataObject], SecretMaterial | Trouble]:
    """A reader for a credential that is to be a header's value, whole or in part."""

    def read(source: DataObject) -> SecretMaterial | Trouble:
        value = _key(source, key)
        if isinstance(value, Trouble):
            return value
        wrong = _not_for_header(value.reveal())
        if wrong:
            return Trouble(Reason.INVALID_SECRET, f"the value of {key} in {source.ref} {wrong}")
        return SecretMaterial(f"secret/{ref.key}/{key}", SecretKind.OPAQUE, value)

    return read


def _not_for_header(value: bytes) -> str:
    if not value.strip():
        return "is empty: put the credential there"
    if value[-1:] in {b"\n", b"\r"}:
        return "ends in a line break, which no header can carry: store it without (echo -n, or kubectl --from-literal)"
    if value != value.strip():
        return "begins or ends with a space or a tab, which no header can carry: store it without"
    if any(byte < 0x20 or byte > 0x7E for byte in value):
        return "has bytes that no header can carry: only visible ASCII and spaces can be sent"
    return ""


def certificate(ref: ObjectRef) -> Callable[[DataObject], SecretMaterial | Trouble]:
    """A reader for a certificate with its private key (`tls.crt`, `tls.key`)."""

    def read(source: DataObject) -> SecretMaterial | Trouble:
        chain, key = _key(source, "tls.crt"), _key(source, "tls.key")
        if isinstance(chain, Trouble):
            return chain
        if isinstance(key, Trouble):
            return key
        wrong = pem.pair_problem(chain.reveal(), key.reveal())
        if wrong:
            return Trouble(Reason.INVALID_SECRET, f"{source.ref}: {wrong}")
        return SecretMaterial(f"tls/{ref.key}", SecretKind.TLS, chain, key)

    return read


def roots(source: DataObject) -> SecretMaterial | Trouble:
    """CA certificates (`ca.crt`) of one Secret or ConfigMap; the caller names the bundle."""
    value = _key(source, "ca.crt")
    if isinstance(value, Trouble):
        return value
    wrong = pem.bundle_problem(value.reveal())
    if wrong:
        return Trouble(Reason.INVALID_SECRET, f"ca.crt in {source.ref}: {wrong}")
    return SecretMaterial("", SecretKind.TRUST_BUNDLE, value)
