"""Credentials: which secret goes where in which section, and which places a caller may never fill itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headgate.api.conditions import Reason
from headgate.api.credential import Credential as CredentialSpec
from headgate.compile import data, spelling
from headgate.compile.draft import Context, Draft, SectionDraft
from headgate.compile.headers import reserved
from headgate.compile.origins import Layer, Sink, settled, union
from headgate.compile.tls import note
from headgate.model.plan import Credential, CredentialPlace
from headgate.model.refs import ObjectRef
from headgate.model.verdict import CredentialUse, Path
from headgate.providers.profile import Companion, Location

_COOKIE_BREAKERS = frozenset(b' ",;\\')


_LAYERS = (Layer.SECTION, Layer.UPSTREAM)
_STRIPPED = (Layer.KNOWN, Layer.UPSTREAM)


@dataclass(frozen=True, slots=True)
class _Declared:
    """A credential as declared, and where."""

    path: Path
    spec: CredentialSpec

    def __str__(self) -> str:
        return f"Secret {self.spec.secret_ref.name}, key {self.spec.secret_ref.key}"


@dataclass(frozen=True, slots=True)
class _Place:
    location: Location
    companions: tuple[Companion, ...] = ()

    def __str__(self) -> str:
        return spelling.location(self.location.place, self.location.key, self.location.prefix)


def fill(context: Context, draft: Draft) -> None:
    """Set every section's credentials, and what is stripped from calls to any section: a caller must not send to one
    section what another one's calls carry."""
    _check_names(context)
    locations: set[Location] = set()
    for section in draft.sections.values():
        section.credentials = _of_section(context, draft, section)
        locations.update(Location(each.place, each.key) for each in section.credentials if not each.yields)
    profile, sink = context.profile, context.noting()
    draft.strip_headers = _keys(sink, "strip.headers", profile.strip_headers, locations, CredentialPlace.HEADER)
    draft.strip_query = _keys(sink, "strip.query", profile.strip_query, locations, CredentialPlace.QUERY)
    draft.strip_cookies = _keys(sink, "strip.cookies", profile.strip_cookies, locations, CredentialPlace.COOKIE)


def _keys(
    sink: Sink | None, name: str, known: Sequence[str], locations: set[Location], place: CredentialPlace
) -> tuple[str, ...]:
    used = (each.key for each in locations if each.place is place)
    return tuple(sorted(union(sink, name, _STRIPPED, known, used)))


def _check_names(context: Context) -> None:
    context.findings.unique(("spec", "credentials"), [each.name for each in context.spec.credentials], "a credential")
    for index, section in enumerate(context.spec.sections):
        names = [each.name for each in section.credentials]
        context.findings.unique(("spec", "sections", index, "credentials"), names, "a credential")


def _of_section(context: Context, draft: Draft, section: SectionDraft) -> tuple[Credential, ...]:
    """The upstream's, and the section's own over those of the same name."""
    general = _by_name(("spec", "credentials"), context.spec.credentials)
    own = _by_name((*section.path, "credentials"), section.spec.credentials) if section.spec else {}
    sink = context.noting(section.name)
    found: dict[Location, Credential] = {}
    followers: list[tuple[Credential, Companion]] = []
    for name in sorted({*own, *general}):
        declared = settled(sink, f"credentials.{name}", _LAYERS, own.get(name), general.get(name))
        place = _place(context, section, declared, _LAYERS[name not in own], sink)
        credential = _credential(context, draft, place.location, declared.path, declared.spec)
        _check_cookies(context, draft, credential, place.companions, declared.path)
        followers += ((credential, each) for each in place.companions)
        where = Location(credential.place, credential.key)
        if where in found:
            message = f"the credential {found[where].name} goes to the same place: give one of them another location"
            context.findings.reject(declared.path, message)
        found[where] = credential
    # What was declared for a place comes before a companion there, whatever their names.
    for credential, each in followers:
        where = Location(each.location.place, each.location.key)
        found.setdefault(where, _companion(credential, each))
    return tuple(sorted(found.values(), key=lambda each: each.name))


def _companion(credential: Credential, companion: Companion) -> Credential:
    where = companion.location
    yields = companion.yields and where.place is CredentialPlace.HEADER
    return Credential(f"{credential.name}/{where.key}", credential.secret, where.place, where.key, where.prefix, yields)


def _by_name(path: Path, credentials: Sequence[CredentialSpec]) -> dict[str, _Declared]:
    return {each.name: _Declared((*path, index), each) for index, each in enumerate(credentials)}


def _credential(context: Context, draft: Draft, where: Location, path: Path, spec: CredentialSpec) -> Credential:
    if where.place is CredentialPlace.HEADER and reserved(where.key):
        context.findings.reject(
            (*path, "location", "header", "name"), f"{where.key} is not for credentials: use another header"
        )
    ref = ObjectRef("Secret", context.ref.namespace, spec.secret_ref.name)
    taken = data.take(context.data, ref, data.credential(ref, spec.secret_ref.key))
    note(context, draft, ref, taken, (*path, "secretRef"))
    section = context.spec.sections[int(path[2])].name if path[1] == "sections" else None
    draft.credentials[section or "", spec.name] = CredentialUse(
        spec.name, section, taken.version, taken.trouble is None
    )
    name = f"secret/{ref.key}/{spec.secret_ref.key}"
    if taken.material is not None:
        draft.materials[name] = taken.material
    return Credential(spec.name, name, where.place, where.key, where.prefix)


def _check_cookies(
    context: Context, draft: Draft, credential: Credential, companions: Sequence[Companion], path: Path
) -> None:
    material = draft.materials.get(credential.secret)
    places = {credential.place, *(each.location.place for each in companions)}
    if material is None or CredentialPlace.COOKIE not in places:
        return
    if _COOKIE_BREAKERS.intersection(material.value.reveal()):
        _, namespace, name, key = credential.secret.split("/", 3)
        message = (
            f"the value of {key} in Secret {namespace}/{name} has a space, quote, comma, semicolon or backslash, "
            "which no cookie can carry"
        )
        context.findings.miss((*path, "secretRef"), message, Reason.INVALID_SECRET)
        draft.unusable = True


def _place(context: Context, section: SectionDraft, declared: _Declared, layer: Layer, sink: Sink | None) -> _Place:
    """Where a credential, which stands in `layer`, goes; and where else, if the profile says where."""
    known, profile = section.profile, context.profile
    return settled(
        sink,
        f"credentials.{declared.spec.name}.place",
        (layer, Layer.KNOWN_SECTION, Layer.KNOWN),
        _given(declared.spec),
        _Place(known.credential, known.companions) if known is not None and known.credential is not None else None,
        _Place(profile.credential, profile.companions),
    )


def _given(spec: CredentialSpec) -> _Place | None:
    location = spec.location
    if location is None:
        return None
    if location.header is not None:
        return _Place(Location(CredentialPlace.HEADER, location.header.name.lower(), location.header.prefix or ""))
    if location.query_parameter is not None:
        return _Place(Location(CredentialPlace.QUERY, location.query_parameter))
    return _Place(Location(CredentialPlace.COOKIE, location.cookie or ""))
