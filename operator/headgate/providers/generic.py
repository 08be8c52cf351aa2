"""Any HTTP API: nothing is known of it but that a bearer token is the most usual credential."""

from __future__ import annotations

from headgate.model.plan import CredentialPlace
from headgate.providers.profile import Location, Profile

GENERIC = Profile(
    name="generic",
    credential=Location(CredentialPlace.HEADER, "authorization", "Bearer "),
)
