"""How large a call may be. The nearest wins: the section's own, the upstream's, the profile's section, the profile; without
any there is no bound.
"""

from __future__ import annotations

from headgate.api.types import byte_count
from headgate.compile.draft import Context, Draft
from headgate.compile.origins import Layer, nearest
from headgate.model.verdict import Path

_LAYERS = (Layer.SECTION, Layer.UPSTREAM, Layer.KNOWN_SECTION, Layer.KNOWN)


def fill(context: Context, draft: Draft) -> None:
    """Set every section's largest body."""
    general = _read(context, ("spec", "maxRequestBody"), context.spec.max_request_body)
    for section in draft.sections.values():
        own = section.spec.max_request_body if section.spec else None
        found = nearest(
            context.noting(section.name),
            "maxRequestBody",
            _LAYERS,
            _read(context, (*section.path, "maxRequestBody"), own),
            general,
            section.profile.max_request_body if section.profile else None,
            context.profile.max_request_body,
        )
        # 0 is how somebody nearer lifts a bound of somebody further away.
        section.max_request_body = found or None


def _read(context: Context, path: Path, quantity: int | str | None) -> int | None:
    if quantity is None:
        return None
    try:
        return byte_count(quantity)
    except ValueError as error:
        context.findings.reject(path, str(error))
        return None
