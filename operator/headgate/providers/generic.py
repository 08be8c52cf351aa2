"""Any HTTP API: nothing is known of it but that a bearer token is the most usual credential."""

from __future__ import annotations

from headgate.model.plan import CredentialPlace
from headgate.providers.profile import Fact, Location, Profile

GENERIC = Profile(
    name="generic",
    title="Any HTTP API",
    credential=Location(CredentialPlace.HEADER, "authorization", "Bearer "),
    facts=(
        Fact(
            "bearer-token",
            "A token for an API usually goes into `Authorization: Bearer`.",
            "https://www.rfc-editor.org/rfc/rfc6750",
        ),
    ),
    clients=(("whatever takes a base URL", "`{base}`"),),
)
