"""The profile of any HTTP API: a test for its fact, named after it."""

from __future__ import annotations

from harness.declare import World, secret, upstream
from headgate.model.plan import CredentialPlace


def test_bearer_token() -> None:
    spec = "{hostname: api.example, credentials: [{name: key, secretRef: {name: keys, key: key}}]}"
    world = World(upstream("api", spec) + secret("keys", key="k"))
    world.compile()
    (credential,) = world.section("api").credentials
    assert (credential.place, credential.key, credential.prefix) == (CredentialPlace.HEADER, "authorization", "Bearer ")
