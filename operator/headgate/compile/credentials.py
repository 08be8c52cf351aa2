"""Credentials: which secret goes where in which section, and which places a caller may never fill itself."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.api.conditions import Reason
from headgate.api.credential import Credential as CredentialSpec
from headgate.compile import data
from headgate.compile.draft import Context, Draft, SectionDraft
from headgate.compile.headers import reserved
from headgate.compile.tls import note
from headgate.model.plan import Credential, CredentialPlace
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Path
from headgate.providers.profile import Companion, Location

_COOKIE_BREAKERS = frozenset(b' ",;\\')


def fill(context: Context, draft: Draft) -> None:
    """Set every section's credentials, and what is stripped from calls to any section: a caller must not send to one
    section what another one's calls carry."""
    _check_names(context)
    locations: set[Location] = set()
    for section in draft.sections.values():
        section.credentials = _of_section(context, draft, section)
        locations.update(Location(each.place, each.key) for each in section.credentials if not each.yields)
    profile = context.profile
    draft.strip_headers = _keys(profile.strip_headers, locations, CredentialPlace.HEADER)
    draft.strip_query = _keys(profile.strip_query, locations, CredentialPlace.QUERY)
    draft.strip_cookies = _keys(profile.strip_cookies, locations, CredentialPlace.COOKIE)


def _keys(known: Sequence[str], locations: set[Location], place: CredentialPlace) -> tuple[str, ...]:
    return tuple(sorted({*known, *(each.key for each in locations if each.place is place)}))


def _check_names(context: Context) -> None:
    context.findings.unique(("spec", "credentials"), [each.name for each in context.spec.credentials], "a credential")
    for index, section in enumerate(context.spec.sections):
        names = [each.name for each in section.credentials]
        context.findings.unique(("spec", "sections", index, "credentials"), names, "a credential")


def _of_section(context: Context, draft: Draft, section: SectionDraft) -> tuple[Credential, ...]:
    """The upstream's, and the section's own over those of the same name."""
    declared: dict[str, tuple[Path, CredentialSpec]] = {}
    for path, credentials in (
        (("spec", "credentials"), context.spec.credentials),
        ((*section.path, "credentials"), section.spec.credentials if section.spec else ()),
    ):
        declared.update({each.name: ((*path, index), each) for index, each in enumerate(credentials)})
    found: dict[Location, Credential] = {}
    followers: list[tuple[Credential, Companion]] = []
    for _, (path, spec) in sorted(declared.items()):
        place, companions = _location(context, section, spec)
        credential = _credential(context, draft, place, path, spec)
        _check_cookies(context, draft, credential, companions, path)
        followers += ((credential, each) for each in companions)
        where = Location(credential.place, credential.key)
        if where in found:
            message = f"the credential {found[where].name} goes to the same place: give one of them another location"
            context.findings.reject(path, message)
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


def _credential(context: Context, draft: Draft, where: Location, path: Path, spec: CredentialSpec) -> Credential:
    if where.place is CredentialPlace.HEADER and reserved(where.key):
        context.findings.reject(
            (*path, "location", "header", "name"), f"{where.key} is not for credentials: use another header"
        )
    ref = ObjectRef("Secret", context.ref.namespace, spec.secret_ref.name)
    taken = data.take(context.data, ref, data.credential(ref, spec.secret_ref.key))
    note(context, draft, ref, taken, (*path, "secretRef"))
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


def _location(context: Context, section: SectionDraft, spec: CredentialSpec) -> tuple[Location, tuple[Companion, ...]]:
    """Where a credential goes, and where else if the profile says where."""
    location = spec.location
    if location is None:
        if section.profile is not None and section.profile.credential is not None:
            return section.profile.credential, section.profile.companions
        return context.profile.credential, context.profile.companions
    if location.header is not None:
        return Location(CredentialPlace.HEADER, location.header.name.lower(), location.header.prefix or ""), ()
    if location.query_parameter is not None:
        return Location(CredentialPlace.QUERY, location.query_parameter), ()
    return Location(CredentialPlace.COOKIE, location.cookie or ""), ()
