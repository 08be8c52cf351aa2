"""TLS towards the provider: whom to believe, which name to ask for, and the client certificate."""

from __future__ import annotations

from headgate.api.tls import CaCertificateRef, TlsValidation, UpstreamTls
from headgate.compile import data, roots
from headgate.compile.draft import Context, Draft
from headgate.compile.endpoints import has_tls
from headgate.compile.origins import Layer, Noted, nearest
from headgate.compile.provider import own_host
from headgate.model.plan import SecretKind, SecretMaterial, SubjectAltName, Tls
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.verdict import Path

#: Name of the bundle of well-known CAs.
SYSTEM_ROOTS = "roots/system"
#: Those of a provider are called this and the profile's name. Bundles of the user's own have a kind and a name after the
#: namespace, so that none can be called so.
PROVIDER_ROOTS = "roots/provider/"
_OWN = (Layer.UPSTREAM,)


def fill(context: Context, draft: Draft) -> None:
    """Set TLS; None stays for plain HTTP."""
    if not has_tls(context):
        return
    spec = context.spec.tls or UpstreamTls()
    validation = spec.validation or TlsValidation()
    sink = context.noting()
    names = tuple(
        SubjectAltName(dns=each.hostname.lower() if each.hostname else None, uri=each.uri)
        for each in dict.fromkeys(validation.subject_alt_names)
    )
    draft.tls = Tls(
        roots=_roots(context, draft, validation),
        server_name=nearest(sink, "tls.serverName", _OWN, validation.hostname.lower() if validation.hostname else None),
        subject_alt_names=nearest(sink, "tls.subjectAltNames", _OWN, names or None) or (),
        client_certificate=nearest(sink, "tls.clientCertificate", _OWN, _client_certificate(context, draft, spec)),
    )


def _client_certificate(context: Context, draft: Draft, spec: UpstreamTls) -> str | None:
    if spec.client_certificate_ref is None:
        return None
    ref = ObjectRef("Secret", context.ref.namespace, spec.client_certificate_ref.name)
    taken = data.take(context.data, ref, data.certificate(ref))
    note(context, draft, ref, taken, ("spec", "tls", "clientCertificateRef"))
    if taken.material is None:
        return None
    draft.materials[taken.material.name] = taken.material
    return taken.material.name


def _roots(context: Context, draft: Draft, validation: TlsValidation) -> str:
    sink = context.noting()
    if not validation.ca_certificate_refs:
        layer, bundle = _well_known(context, draft, validation)
        if sink is not None:
            sink.note("tls.roots", Noted(bundle, sink.origin(layer)))
        return bundle
    # The order of CAs means nothing, so it must not change the name.
    refs = {(ref.kind, ref.name): index for index, ref in reversed(list(enumerate(validation.ca_certificate_refs)))}
    parts = []
    for (kind, name), index in sorted(refs.items()):
        value = _ca(context, draft, CaCertificateRef(kind=kind, name=name), index)
        if value is not None:
            parts.append(value.reveal().strip() + b"\n")
    bundle = f"roots/{context.ref.namespace}/{'+'.join(f'{kind}/{name}' for kind, name in sorted(refs))}"
    nearest(sink, "tls.roots", _OWN, bundle)
    if len(parts) == len(refs):
        draft.materials[bundle] = SecretMaterial(bundle, SecretKind.TRUST_BUNDLE, SecretValue(b"".join(parts)))
    return bundle


def _well_known(context: Context, draft: Draft, validation: TlsValidation) -> tuple[Layer, str]:
    """All well-known CAs, or those of them that the provider's certificates come from: a proxy keeps the bundle once for
    every section, and all of them are some 250 KiB."""
    asked = validation.well_known_ca_certificates is not None
    layer, name, value = Layer.UPSTREAM if asked else Layer.DEFAULT, SYSTEM_ROOTS, context.settings.system_roots
    profile = context.profile
    if profile.roots and own_host(context.spec) and not asked:
        few = roots.chosen(value, frozenset(each.sha256 for each in profile.roots))
        if few is not None:
            layer, name, value = Layer.KNOWN, f"{PROVIDER_ROOTS}{profile.name}", few
    draft.materials[name] = SecretMaterial(name, SecretKind.TRUST_BUNDLE, value)
    return layer, name


def everyones(bundle: str) -> bool:
    """Whether a bundle's name is one that any upstream may share: no user can give such a name."""
    return bundle == SYSTEM_ROOTS or (
        bundle.startswith(PROVIDER_ROOTS) and "/" not in bundle.removeprefix(PROVIDER_ROOTS)
    )


def _ca(context: Context, draft: Draft, declared: CaCertificateRef, index: int) -> SecretValue | None:
    ref = ObjectRef(declared.kind, context.ref.namespace, declared.name)
    taken = data.take(context.data, ref, data.roots)
    note(context, draft, ref, taken, ("spec", "tls", "validation", "caCertificateRefs", index))
    return taken.material.value if taken.material else None


def note(context: Context, draft: Draft, ref: ObjectRef, taken: data.Taken, path: Path) -> None:
    """Remember what was used of a Secret or ConfigMap, and what is wrong with it."""
    if taken.trouble is not None:
        context.findings.miss(path, taken.trouble.message, taken.trouble.reason, ref)
    if taken.material is not None:
        draft.used.add(ref)
    if taken.outdated:
        draft.outdated.add(ref)
