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
from headgate.providers.profile import Location

_COOKIE_BREAKERS = frozenset(b' ",;\\')


def fill(context: Context, draft: Draft) -> None:
    """Set every section's credentials, and what is stripped from calls to any section: a caller must not send to one
    section what another one's calls carry."""
    _check_names(context)
    locations: set[Location] = set()
    for section in draft.sections.values():
        section.credentials = _of_section(context, draft, section)
        locations.update(Location(each.place, each.key) for each in section.credentials)
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
    for _, (path, spec) in sorted(declared.items()):
        credential = _credential(context, draft, section, path, spec)
        where = Location(credential.place, credential.key)
        if where in found:
            message = f"the credential {found[where].name} goes to the same place: give one of them another location"
            context.findings.reject(path, message)
        found[where] = credential
    return tuple(sorted(found.values(), key=lambda each: each.name))


def _credential(context: Context, draft: Draft, section: SectionDraft, path: Path, spec: CredentialSpec) -> Credential:
    where = _location(context, section, spec)
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
        if where.place is CredentialPlace.COOKIE and _COOKIE_BREAKERS.intersection(taken.material.value.reveal()):
            message = (
                f"the value of {spec.secret_ref.key} in {ref} has a space, quote, comma, semicolon or backslash, "
                "which no cookie can carry"
            )
            context.findings.miss((*path, "secretRef"), message, Reason.INVALID_SECRET)
            draft.unusable = True
    return Credential(spec.name, name, where.place, where.key, where.prefix)


def _location(context: Context, section: SectionDraft, spec: CredentialSpec) -> Location:
    location = spec.location
    if location is None:
        known = section.profile.credential if section.profile else None
        return known or context.profile.credential
    if location.header is not None:
        return Location(CredentialPlace.HEADER, location.header.name.lower(), location.header.prefix or "")
    if location.query_parameter is not None:
        return Location(CredentialPlace.QUERY, location.query_parameter)
    return Location(CredentialPlace.COOKIE, location.cookie or "")
