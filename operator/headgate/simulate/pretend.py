"""What a simulated run makes up: keys, certificates and CAs that are referred to and not there. Pure, but for the
certificates that it is handed.

A Secret or ConfigMap that is there stays as it is; only keys that are missing from it are added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from headgate.api.upstream import UpstreamService
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.snapshot import Broken, DataEntry, DataObject, Snapshot

#: A key for a provider that nothing is known of.
ANY_KEY = "simulated-key"


@dataclass(frozen=True, slots=True)
class Props:
    """What to make things up from: a key by the name of the provider, a client certificate with its key, a CA; all PEM."""

    keys: Mapping[str, str]
    certificate: SecretValue
    private_key: SecretValue
    roots: SecretValue


@dataclass(frozen=True, slots=True)
class MadeUp:
    """One key of a Secret or ConfigMap that is not there."""

    ref: ObjectRef
    key: str


@dataclass(slots=True)
class Memo:
    """What was made up last, and for which data; an equal world then has the very same map of data."""

    data: Mapping[ObjectRef, DataEntry] | None = None
    missing: Mapping[MadeUp, SecretValue] = field(default_factory=dict)
    filled: Mapping[ObjectRef, DataEntry] | None = None


def fill(snapshot: Snapshot, props: Props, memo: Memo) -> Snapshot:
    """The Snapshot with nothing missing. `memo.missing` says afterwards what was made up."""
    missing = {
        each: value
        for upstream in snapshot.upstreams.values()
        # What was good goes on being served while what is declared now can't be: it needs its keys as well.
        for version in (upstream.last_good, upstream.current)
        if version is not None and not isinstance(version, Broken)
        for each, value in _references(upstream.ref.namespace, version, props)
        if not _there(snapshot.data.get(each.ref), each.key)
    }
    if memo.filled is None or memo.data is not snapshot.data or memo.missing != missing:
        memo.filled = _filled(snapshot.data, missing) if missing else snapshot.data
    memo.data, memo.missing = snapshot.data, missing
    return replace(snapshot, data=memo.filled)


def _references(namespace: str, upstream: UpstreamService, props: Props) -> Iterator[tuple[MadeUp, SecretValue]]:
    spec = upstream.spec
    key = SecretValue(props.keys.get(spec.provider or "", ANY_KEY).encode())
    for credential in (*spec.credentials, *(each for section in spec.sections for each in section.credentials)):
        yield MadeUp(ObjectRef("Secret", namespace, credential.secret_ref.name), credential.secret_ref.key), key
    if spec.tls is None:
        return
    if spec.tls.client_certificate_ref is not None:
        ref = ObjectRef("Secret", namespace, spec.tls.client_certificate_ref.name)
        yield MadeUp(ref, "tls.crt"), props.certificate
        yield MadeUp(ref, "tls.key"), props.private_key
    for authority in spec.tls.validation.ca_certificate_refs if spec.tls.validation else ():
        yield MadeUp(ObjectRef(authority.kind, namespace, authority.name), "ca.crt"), props.roots


def _there(entry: DataEntry | None, key: str) -> bool:
    return entry is not None and entry.current is not None and key in entry.current.data


def _filled(
    data: Mapping[ObjectRef, DataEntry], missing: Mapping[MadeUp, SecretValue]
) -> Mapping[ObjectRef, DataEntry]:
    filled = dict(data)
    for each, value in sorted(missing.items(), key=lambda item: (item[0].ref, item[0].key)):
        entry = filled.get(each.ref)
        current = entry.current if entry is not None else None
        content = {**(current.data if current is not None else {}), each.key: value}
        # Compile goes by the revision: it has to tell what was made up, and that it was.
        revision = f"{current.revision if current else ''}+{each.key}={value.fingerprint}"
        made = DataObject(each.ref, revision, MappingProxyType(content))
        filled[each.ref] = DataEntry(made, entry.last_good if entry is not None else None)
    return MappingProxyType(filled)
