"""What was live stays live; one object's mistake is its own."""

from __future__ import annotations

from harness.declare import EDGE, World, policy, secret, upstream
from harness.pki import Authority
from headgate.api.conditions import ConditionStatus, Reason
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import DataObject

CREDENTIAL = "credentials: [{name: key, secretRef: {name: keys, key: token}}]"
KEYS = ObjectRef("Secret", "shop", "keys")


def value(world: World, name: str = "secret/shop/keys/token") -> bytes:
    (gateway,) = world.plan.gateways.values()
    return gateway.secrets[name].value.reveal()


def test_an_invalid_edit_leaves_the_version_before_it_in_force() -> None:
    world = World(upstream())
    world.compile()
    before = world.served("billing")
    world.say(upstream(spec="{hostname: 10.0.0.1}")).compile()
    assert world.served("billing") == before
    verdict = world.verdict("UpstreamService", "billing")
    assert verdict.accepted.reason is Reason.FORBIDDEN_ADDRESS
    assert verdict.accepted.message.endswith("until it is mended the version before it stays in force")
    assert verdict.live
    assert verdict.host == "api.example"
    world.say(upstream(spec="{hostname: b.example}")).compile()
    assert world.section("billing").endpoints[0].hostname == "b.example"


def test_an_object_that_cannot_be_read_keeps_its_last_good_version() -> None:
    world = World(EDGE + upstream() + policy("RetryPolicy", "calm", "attempts: 7"))
    before = world.compile()
    for kind, name in (("UpstreamService", "billing"), ("RetryPolicy", "calm"), ("IntegrationGateway", "edge")):
        world.break_(kind, name)
    after = world.compile()
    assert after.gateways == before.gateways
    for kind, name in (("UpstreamService", "billing"), ("RetryPolicy", "calm"), ("IntegrationGateway", "edge")):
        verdict = world.verdict(kind, name)
        assert verdict.accepted.reason is Reason.INVALID_SPEC
        assert verdict.live
        assert verdict.generation == 2


def test_one_that_never_was_good_is_not_served_and_harms_nothing() -> None:
    world = World(upstream("sound")).break_("UpstreamService", "billing")
    world.compile()
    assert world.served("billing") is None
    assert world.served("sound")
    assert not world.verdict("UpstreamService", "billing").live


def test_an_invalid_policy_keeps_its_last_good_version() -> None:
    world = World(upstream() + policy("RetryPolicy", "calm", "attempts: 7"))
    world.compile()
    world.say(policy("RetryPolicy", "calm", "attempts: 1, perRetry: {backOff: {maxInterval: 10ms}}")).compile()
    retry = world.section("billing").retry
    assert retry
    assert retry.attempts == 7
    assert world.verdict("RetryPolicy", "calm").accepted.reason is Reason.INVALID_SPEC


def test_a_secret_that_goes_stays_in_force_for_those_that_used_it() -> None:
    world = World(upstream(spec=f"{{hostname: api.example, {CREDENTIAL}}}") + secret(token="one"))
    world.compile()
    world.store.remove_data(KEYS)
    world.compile()
    verdict = world.verdict("UpstreamService", "billing")
    assert value(world) == b"one"
    assert verdict.live
    assert verdict.accepted.status is ConditionStatus.TRUE
    assert verdict.resolved.reason is Reason.SECRET_NOT_FOUND
    assert verdict.resolved.message.endswith("the value used last stays in force")
    world.say(secret(token="two")).compile()
    assert value(world) == b"two"
    assert world.verdict("UpstreamService", "billing").resolved.status is ConditionStatus.TRUE


def test_a_secret_that_breaks_stays_as_it_was() -> None:
    world = World(upstream(spec=f"{{hostname: api.example, {CREDENTIAL}}}") + secret(token="one"))
    world.compile()
    world.say(secret(token="two\n")).compile()
    assert value(world) == b"one"
    assert world.verdict("UpstreamService", "billing").resolved.reason is Reason.INVALID_SECRET
    # The bad one must not have become the one to fall back to.
    world.store.remove_data(KEYS)
    world.compile()
    assert value(world) == b"one"


def test_someone_elses_missing_key_does_not_keep_a_secret_from_being_good() -> None:
    other = "{hostname: b.example, credentials: [{name: key, secretRef: {name: keys, key: nowhere}}]}"
    world = World(
        upstream(spec=f"{{hostname: api.example, {CREDENTIAL}}}") + upstream("other", other) + secret(token="one")
    )
    world.compile()
    world.store.remove_data(KEYS)
    world.compile()
    assert value(world) == b"one"
    assert world.served("other") is None


def test_a_key_that_is_taken_away_under_one_user_does_not_spoil_it_by_another() -> None:
    other = "{hostname: b.example, credentials: [{name: key, secretRef: {name: keys, key: more}}]}"
    world = World(
        upstream(spec=f"{{hostname: api.example, {CREDENTIAL}}}")
        + upstream("other", other)
        + secret(token="one", more="m1")
    )
    world.compile()
    world.say(secret(token="two")).compile()
    for _ in range(2):
        world.compile()
        assert value(world) == b"two"
        assert value(world, "secret/shop/keys/more") == b"m1"


def test_a_secret_that_nothing_refers_to_any_more_is_forgotten() -> None:
    world = World(upstream(spec=f"{{hostname: api.example, {CREDENTIAL}}}") + secret(token="one"))
    world.compile()
    world.store.remove_data(KEYS)
    world.compile()
    assert KEYS in world.store.snapshot().data
    world.store.remove(ObjectRef("UpstreamService", "shop", "billing"))
    world.compile()
    assert KEYS not in world.store.snapshot().data


def test_certificates_and_roots_fall_back_too() -> None:
    authority = Authority()
    identity = authority.client("client.example")
    spec = (
        "{hostname: api.example, tls: {mode: ClientAndServer, clientCertificateRef: {name: pair}, "
        "validation: {caCertificateRefs: [{kind: Secret, name: ca}]}}}"
    )
    pair = {"tls.crt": identity.chain_pem.decode(), "tls.key": identity.key_pem.decode()}
    world = World(upstream(spec=spec) + secret("pair", **pair) + secret("ca", **{"ca.crt": authority.pem.decode()}))
    before = world.compile()
    assert world.verdict("UpstreamService", "billing").resolved.status is ConditionStatus.TRUE
    world.say(secret("pair", **(pair | {"tls.key": "nonsense"})) + secret("ca", **{"ca.crt": "nonsense"}))
    assert world.compile().gateways == before.gateways
    message = world.verdict("UpstreamService", "billing").resolved.message
    assert "clientCertificateRef: Secret shop/pair: tls.key holds no private key" in message
    assert "caCertificateRefs[0]: ca.crt in Secret shop/ca: there is no certificate in it" in message


def test_a_gateways_certificate_falls_back() -> None:
    identity = Authority().server("edge.example")
    pair = {"tls.crt": identity.chain_pem.decode(), "tls.key": identity.key_pem.decode()}
    gateway = EDGE.replace("default: true", "default: true, listener: {tls: {certificateRef: {name: pair}}}")
    world = World(gateway + upstream() + secret("pair", **pair))
    before = world.compile()
    world.store.remove_data(ObjectRef("Secret", "shop", "pair"))
    assert world.compile().gateways == before.gateways
    assert world.verdict("IntegrationGateway", "edge").resolved.reason is Reason.SECRET_NOT_FOUND
    assert world.verdict("UpstreamService", "billing").live


def test_consent_that_is_withdrawn_is_withdrawn_from_the_last_good_version_too() -> None:
    inside = EDGE.replace("default: true", "default: true, egress: {allowedCIDRs: [10.0.0.0/8]}")
    world = World(inside + upstream(spec="{hostname: 10.0.0.1}"))
    world.compile()
    assert world.served("billing")
    world.say(EDGE).compile()
    assert world.served("billing") is None


def test_what_is_referred_to_is_told() -> None:
    world = World(upstream(spec=f"{{hostname: api.example, {CREDENTIAL}}}"))
    assert world.compile().references == {KEYS}


def test_good_names_the_revision_that_was_used() -> None:
    world = World(upstream(spec=f"{{hostname: api.example, {CREDENTIAL}}}"))
    world.store.put_data(DataObject(KEYS, "r7", {}))
    assert KEYS not in world.compile().good
    world.say(secret(token="one"))
    plan = world.compile()
    assert KEYS in plan.good
    assert ObjectRef("UpstreamService", "shop", "billing") in plan.good
