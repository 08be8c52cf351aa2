"""What options make of a profile, where a golden file would not show the reason."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes

from golden.profiles import ACME, PROFILES
from harness.declare import World, secret, upstream
from harness.pki import Authority
from headgate.compile import roots
from headgate.compile.tls import everyones
from headgate.model.matches import PathKind, PathMatch, RequestMatch
from headgate.model.plan import CredentialPlace
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.snapshot import Settings
from headgate.providers.profile import Companion, Location, Option, Options, Profile, Root, SectionProfile
from headgate.providers.registry import Profiles

KEY = Location(CredentialPlace.HEADER, "x-key")
SECRETS = secret("keys", a="aaa", b="bbb", spaced="a b")
PREFIX = (RequestMatch(PathMatch(PathKind.PREFIX, "/v1")),)


def profiles(**fields: Any) -> Profiles:
    return MappingProxyType({"acme": Profile(**{"name": "acme", "credential": KEY, "host": "acme.example", **fields})})


def compiled(spec: str, known: Profiles = PROFILES, settings: Settings | None = None) -> World:
    world = World(upstream(spec=f"{{provider: acme, {spec}}}") + SECRETS, settings, known)
    world.compile()
    return world


def complaint(world: World) -> str:
    verdict = world.verdict("UpstreamService", "billing")
    assert not verdict.live
    return verdict.accepted.message or verdict.resolved.message


# Options


@pytest.mark.parametrize(
    ("options", "host", "sections"),
    [
        ("{project: ' rocket\t'}", "rocket.acme.example", set()),
        ("{project: rocket, regions: 'eu1 ,us3'}", "rocket.acme.example", {"eu1", "us3"}),
    ],
)
def test_options_are_trimmed(options: str, host: str, sections: set[str]) -> None:
    world = compiled(f"providerOptions: {options}")
    found = world.served("billing")
    assert found
    assert found.sections[0].endpoints[0].hostname == host
    assert {section.name for section in found.sections} == {"default", "models", "realtime", "us2"} | sections


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("{}", "spec.providerOptions: the provider acme has to be told project"),
        ("{project: ''}", "spec.providerOptions.project: is empty: write it like rocket"),
        ("{project: Rocket}", "'Rocket' does not fit (the project's name): write it like rocket"),
        ("{project: 'rocket,other'}", "'rocket,other' does not fit"),
        ('{project: "rocket\\n"}', "does not fit"),
        (f"{{project: {'x' * 1000}}}", f"'{'x' * 80}...' does not fit"),
        ("{project: rocket, regions: ','}", "spec.providerOptions.regions: has an empty entry"),
        ("{project: rocket, regions: 'eu1,EU1'}", "'EU1' does not fit"),
        ("{project: rocket, region: eu1}", "has no such option: it has project, regions, storage"),
    ],
)
def test_what_is_wrong_with_an_option(options: str, words: str) -> None:
    assert words in complaint(compiled(f"providerOptions: {options}"))


def test_a_host_made_of_options_is_measured_as_one_that_is_given() -> None:
    option = Option("part", "Anything.", ".*", "x", required=True)
    known = profiles(host="{part}", options=(option,), authorities=())
    for part, words in (
        ("a/b", "'a/b', which these make of {part}, is no host name"),
        ("a@b", "is no host name"),
        ("a:80", "is no host name"),
        ("1::2::3", "is neither a host name nor an IP address"),
        ("a..b", "is no host name"),
        ("{part}", "is no host name"),
        ("127.0.0.1", "127.0.0.1 is not a public address"),
        ("127.1", "is neither a host name nor an IP address"),
        ("x" * 64, "has a part of more than 63 letters"),
        ("x" * 254, "is no host name"),
    ):
        assert words in complaint(compiled(f"providerOptions: {{part: '{part}'}}", known)), part
    assert (
        compiled("providerOptions: {part: API.Example}", known).section("billing").endpoints[0].hostname
        == "api.example"
    )


def test_no_authority_is_made_of_an_option_that_is_none() -> None:
    option = Option("part", "Anything.", ".*", "x")
    known = profiles(options=(option,), authorities=("{part}.example:8443",))
    assert "'a/b.example:8443', which these make of" in complaint(compiled("providerOptions: {part: a/b}", known))
    found = compiled("providerOptions: {part: A}", known).served("billing")
    assert found
    assert found.authorities == ("a.example:8443", "acme.example")


def test_what_is_left_out_is_needed_by_the_host_only_where_that_is_the_profiles() -> None:
    for spec in ("hostname: api.example", "endpoints: [{hostname: api.example}]"):
        assert compiled(spec).served("billing")


# Sections


def test_a_section_that_options_make_takes_the_place_of_a_fixed_one_and_the_users_entry_shapes_both() -> None:
    spec = "providerOptions: {project: rocket, regions: us2}, sections: [{name: us2, timeouts: {request: 7s}}]"
    world = compiled(spec)
    found = world.served("billing")
    assert found
    assert [route.match.path.value for route in found.routes if route.section == "us2" and route.match.path] == [
        "/regions/us2"
    ]
    section = world.section("billing", "us2")
    # The fixed section's own bound is gone with it.
    assert (section.timeouts.request, section.max_request_body) == (7_000, ACME.max_request_body)


def test_there_are_only_so_many_sections() -> None:
    def many(options: Options) -> tuple[SectionProfile, ...]:
        return tuple(SectionProfile(f"s{number}", PREFIX) for number in range(int(options["count"])))

    known = profiles(options=(Option("count", "How many.", "[0-9]+", "3"),), sections_for=many)
    assert len(compiled("providerOptions: {count: '64'}", known).served("billing").sections) == 65  # type: ignore[union-attr]
    assert "these make 65 sections" in complaint(compiled("providerOptions: {count: '65'}", known))


def test_a_profile_that_fails_takes_down_nobody_else() -> None:
    def fails(options: Options) -> tuple[SectionProfile, ...]:
        raise ValueError("no such thing")

    world = compiled("hostname: api.example", profiles(sections_for=fails))
    world.profiles = MappingProxyType({**PROFILES, **world.profiles})
    world.say(upstream("other")).compile()
    assert "it fails to say what sections there are: ValueError: no such thing" in complaint(world)
    assert world.served("other")


def test_another_profile_by_the_name_is_compiled_anew() -> None:
    world = compiled("port: 443", profiles())
    assert world.section("billing").endpoints[0].hostname == "acme.example"
    world.profiles = profiles(host="other.example")
    world.compile()
    assert world.section("billing").endpoints[0].hostname == "other.example"


def test_a_stream_goes_before_an_equal_match_of_its_section() -> None:
    world = compiled("port: 443", profiles(sections=(SectionProfile("data", PREFIX, streams=PREFIX),)))
    found = world.served("billing")
    assert found
    assert [(route.section, route.streaming) for route in found.routes] == [
        ("data", True),
        ("data", False),
        ("default", False),
    ]


# Companions


def places(world: World, section: str = "default") -> list[tuple[str, str, str, bool]]:
    return [
        (each.name, each.place.value, each.key, each.yields) for each in world.section("billing", section).credentials
    ]


def credential(name: str, key: str = "a", location: str = "") -> str:
    where = f", location: {{{location}}}" if location else ""
    return f"{{name: {name}, secretRef: {{name: keys, key: {key}}}{where}}}"


TOKEN = Companion(Location(CredentialPlace.HEADER, "authorization", "Bearer "), yields=True)
QUERY = Companion(Location(CredentialPlace.QUERY, "key"), yields=True)


def test_what_is_declared_for_a_place_comes_before_a_companion_whatever_their_names() -> None:
    known = profiles(companions=(TOKEN, QUERY))
    for name in ("aa", "zz"):
        own = credential(name, "b", "header: {name: Authorization}")
        world = compiled(f"credentials: [{credential('key')}, {own}]", known)
        assert sorted(places(world)) == sorted(
            [
                ("key", "Header", "x-key", False),
                # Only a header can be left to the caller.
                ("key/key", "QueryParameter", "key", False),
                (name, "Header", "authorization", False),
            ]
        )
        assert world.section("billing").strip_request_headers == ("authorization", "x-key")
        assert world.section("billing").strip_query == ("key",)


def test_a_credential_with_a_place_of_its_own_has_no_companions() -> None:
    own = credential("key", location="header: {name: X-Key}")
    assert places(compiled(f"credentials: [{own}]", profiles(companions=(TOKEN,)))) == [
        ("key", "Header", "x-key", False)
    ]


def test_a_section_with_a_place_of_its_own_has_companions_of_its_own() -> None:
    bearer = SectionProfile("v1", PREFIX, credential=TOKEN.location)
    known = profiles(companions=(TOKEN,), sections=(bearer,))
    world = compiled(f"credentials: [{credential('key')}]", known)
    assert places(world, "v1") == [("key", "Header", "authorization", False)]
    assert places(world) == [("key", "Header", "x-key", False), ("key/authorization", "Header", "authorization", True)]
    # What one section's calls carry no caller fills, but where he may.
    assert world.section("billing", "v1").strip_request_headers == ("authorization", "x-key")
    assert world.section("billing").strip_request_headers == ("x-key",)


def test_a_companion_in_a_cookie_has_to_be_fit_for_it() -> None:
    known = profiles(companions=(Companion(Location(CredentialPlace.COOKIE, "key")),))
    assert places(compiled(f"credentials: [{credential('key')}]", known))[1] == ("key/key", "Cookie", "key", False)
    assert "which no cookie can carry" in complaint(compiled(f"credentials: [{credential('key', 'spaced')}]", known))


# Roots


AUTHORITIES = [Authority(f"root {number}") for number in range(3)]
BUNDLE = b"# all of them\n" + b"\n".join(each.pem for each in AUTHORITIES)


def fingerprint(authority: Authority) -> str:
    return authority.certificate.fingerprint(hashes.SHA256()).hex()


def settings(bundle: bytes = BUNDLE) -> Settings:
    return Settings(implied_gateway=True, system_roots=SecretValue(bundle))


def trusted(spec: str, known: tuple[str, ...], bundle: bytes = BUNDLE) -> tuple[str, bytes]:
    world = compiled(spec, profiles(roots=tuple(Root("", each) for each in known)), settings(bundle))
    tls = world.section("billing").tls
    assert tls
    material = world.plan.gateways["default/default"].secrets[tls.roots]
    assert material.owners == (ObjectRef("IntegrationGateway", "default", "default"),)
    return tls.roots, material.value.reveal()


def test_only_the_providers_own_roots_are_trusted_and_in_their_order() -> None:
    first, _, last = map(fingerprint, AUTHORITIES)
    name, value = trusted("port: 443", (last, first, "00" * 32))
    assert (name, value) == ("roots/provider/acme", AUTHORITIES[0].pem + AUTHORITIES[2].pem)


@pytest.mark.parametrize(
    "spec",
    [
        "hostname: api.example",
        "endpoints: [{hostname: api.example}]",
        "tls: {validation: {wellKnownCACertificates: System}}",
    ],
)
def test_all_are_trusted_where_the_user_knows_better(spec: str) -> None:
    assert trusted(spec, (fingerprint(AUTHORITIES[0]),)) == ("roots/system", BUNDLE)


@pytest.mark.parametrize(
    "bundle", [b"roots", b"", AUTHORITIES[1].pem, b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----"]
)
def test_all_are_trusted_where_none_of_the_few_is_known_here(bundle: bytes) -> None:
    assert trusted("port: 443", (fingerprint(AUTHORITIES[0]),), bundle) == ("roots/system", bundle)


def test_the_few_are_chosen_once() -> None:
    wanted = frozenset({fingerprint(AUTHORITIES[0])})
    assert roots.chosen(SecretValue(BUNDLE), wanted) is roots.chosen(SecretValue(bytes(bytearray(BUNDLE))), wanted)


def test_nobody_can_give_his_own_cas_the_name_of_a_shared_bundle() -> None:
    assert everyones("roots/system")
    assert everyones("roots/provider/acme")
    # Those of namespaces called `provider` and `system`.
    assert not everyones("roots/provider/Secret/acme")
    assert not everyones("roots/system/ConfigMap/ca")


# Headers


def test_the_users_own_values_of_headers_that_the_profile_takes_out_come_after() -> None:
    known = profiles(remove_request_headers=("X-Debug",), remove_response_headers=("set-cookie",))
    section = compiled("headers: {request: {set: [{name: X-Debug, value: '1'}]}}", known).section("billing")
    assert (section.request_headers.set, section.request_headers.remove) == ((("x-debug", "1"),), ("x-debug",))
    assert section.response_headers.remove == ("set-cookie",)
