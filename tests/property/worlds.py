"""Whole worlds from a seed: objects that the models accept, whose names meet often enough for everything to interact.

Hypothesis chooses only the seeds: drawing every choice from it, and shrinking, would take minutes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from pydantic import ValidationError

from harness.admission import matches
from headgate.api.conditions import Reason
from headgate.api.kinds import KINDS
from headgate.api.meta import Kind
from headgate.api.schema import structural_schema
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.snapshot import Broken, DataObject
from headgate.store import Put

Schema = Mapping[str, Any]

SCHEMAS = {name: structural_schema(kind) for name, kind in KINDS.items()}
NAMESPACES = ("shop", "infra")
OBJECTS = {
    "IntegrationGateway": ("edge", "inside"),
    "UpstreamService": ("billing", "mail", "gemini", "erp"),
    "RetryPolicy": ("calm", "eager"),
    "CircuitBreaker": ("fuse", "relay"),
    "RateLimit": ("day", "second"),
}
DATA = ("keys", "pair", "ca")

#: Words for every pattern, the common ones first; what no pattern takes is left out where it is drawn.
WORDS = (
    *("edge", "inside", "billing", "mail", "gemini", "generic", "default", "stream", "generate", "keys", "pair", "ca"),
    *("shop", "infra", "token", "tls.crt", "ca.crt", "gold", "a", "pay"),
    *(
        "api.example",
        "API.example",
        "10.1.2.3",
        "9.9.9.9",
        "::1",
        "2606:4700::1111",
        "::ffff:10.0.0.1",
        "127.1",
        "1.2.3",
    ),
    *("0x7f.1", ":::", "a" * 64 + ".example", "localhost", "_srv.example"),
    *("0s", "1ms", "99ms", "100ms", "1s", "30s", "1m30s", "10m", "24h", "99999h99999h", "5m"),
    *("/", "/v1", "/v1/", "/v1/x", "//", "/../a", "/%2e%2e/a", "/a%2Fb", '/a"b\\c', "/é", "/v1/" + "x" * 900),
    *(
        "GET",
        "POST",
        "DELETE",
        "PATCH",
        "Authorization",
        "x-api-key",
        "Host",
        "X-Envoy-Foo",
        "Cookie",
        "Bearer ",
        "%REQ(x)%",
    ),
    *(
        "",
        " ",
        "a b",
        ".*",
        "[a-z]+",
        "(",
        "(?=x)",
        "\\d{1,5}",
        "(?P<n>x)",
        "a{1000}",
        "(a{100}){100}",
        "/v[0-9]/.*",
        "é+",
        "\x00",
    ),
    *("10.0.0.0/8", "10.1.2.3/8", "::/0", "0.0.0.0/0", "10.0.0.0/99", "fd00::/8", "x.y/1"),
    *("spiffe://a/b", "yes", "1", "websocket"),
)
#: What there is besides names that nobody knows: what comes more often is served more often.
PROVIDERS = ("gemini", "generic", "generic", "acme", "acme", "supabase", "unfit-fails", "unfit-regex")
#: The options that they take.
OPTIONS = {
    "acme": {"project": "rocket", "storage": "disk", "regions": "eu1, us2,default"},
    "gemini": {"models": "a-1,b.2"},
    "supabase": {"project": "abcdefghijklmnopqrst"},
}
WILD_OPTIONS = ("", "a b", "a/b", "{project}", "eu1,eu1", ",", "x" * 1024, "é")
#: No whole number of bytes, and more than there can be.
WILD_SIZES = ("1.3Ki", "1e20", "9999Ti")
NUMBERS = (0, 1, 2, 3, 5, 10, 100, 200, 429, 443, 503, 599, 8080)


#: What is mostly sound, of which a mild spec is made.
MILD = frozenset(
    {
        *("edge", "billing", "mail", "keys", "pair", "ca", "shop", "infra", "gold", "a", "pay"),
        *("api.example", "9.9.9.9", "2606:4700::1111", "1s", "30s", "1m30s", "/v1", "/v1/x", "/a%2Fb"),
        *("GET", "POST", "DELETE", "x-api-key", "Cookie", "Bearer ", "a b", ".*", "[a-z]+", "/v[0-9]/.*"),
        *("10.0.0.0/8", "fd00::/8", "spiffe://a/b", "yes", "%REQ(x)%", "websocket"),
    }
)
#: What a `name` refers to, by the field that it is in.
POOLS = {
    "gatewayRef": OBJECTS["IntegrationGateway"],
    "targetRefs": (*OBJECTS["UpstreamService"], *OBJECTS["IntegrationGateway"]),
    "secretRef": DATA,
    "clientCertificateRef": ("pair",),
    "certificateRef": ("pair",),
    "caCertificateRefs": ("ca", "keys"),
    "credentials": ("token", "key"),
    "sections": ("pay", "stream", "default", "v1"),
}


@dataclass
class Writer:
    """Writes specs that the schema takes, if not always its rules. A mild one says little, and mostly what is sound."""

    random: Random
    mild: bool = False

    def value(self, schema: Schema, name: str = "", parent: str = "") -> Any:
        match str(schema.get("type", "")):
            case "":
                return self.random.choice(
                    [0, 1, 1_048_576, "0", "10Mi", "1.5k", "1M", *(() if self.mild else WILD_SIZES)]
                )
            case "string":
                return self.string(schema, name, parent)
            case "integer":
                fitting = [each for each in NUMBERS if schema["minimum"] <= each <= schema["maximum"]]
                return self.random.choice([*fitting, schema["minimum"], schema["maximum"]])
            case "boolean":
                return self.random.random() < (0.9 if self.mild else 0.7)
            case "array":
                most = min(schema["maxItems"], self.random.choice([1, 1, 2, 3]))
                return [self.value(schema["items"], name, name) for _ in range(max(schema.get("minItems", 0), most))]
            case _:
                return self.object(schema, name)

    def string(self, schema: Schema, name: str, parent: str) -> str:
        if "enum" in schema:
            return str(self.random.choice(schema["enum"]))
        if name == "provider" and self.random.random() < (1 if self.mild else 0.8):
            return self.random.choice(PROVIDERS)
        if name == "name" and parent in POOLS and self.random.random() < 0.9:
            return self.random.choice(POOLS[parent])
        if name == "key" and self.random.random() < 0.9:
            return self.random.choice(["a", "a", "token"])
        fitting = _fitting(schema.get("pattern", ""), schema.get("minLength", 0), schema["maxLength"])
        return self.random.choice([each for each in fitting if each in MILD or not self.mild] or fitting)

    def object(self, schema: Schema, parent: str) -> dict[str, Any]:
        if "additionalProperties" in schema:
            return {self.random.choice(["tier", "team"]): self.random.choice(["gold", "a"])}
        required = schema.get("required", ())
        # An object with everything in it breaks some rule.
        chance = 0.15 if self.mild else 0.3
        found = {
            name: self.value(inner, name, parent)
            for name, inner in schema["properties"].items()
            if name in required
            or (self.mild and (parent, name) == ("probe", "path"))  # not every profile has one
            or self.random.random() < (0.6 if name in _NEEDED else chance)
        }
        if "providerOptions" in found or found.get("provider") in OPTIONS:
            found["providerOptions"] = self.options(found.get("provider", ""))
        return found

    def options(self, provider: str) -> dict[str, str]:
        """Mostly options that the provider has, and values that it takes."""
        known = OPTIONS.get(provider, {} if self.mild else {"x": "y"}).items()
        found = {name: value for name, value in known if self.random.random() < (0.9 if name == "project" else 0.5)}
        if not self.mild and self.random.random() < 0.3:
            found[self.random.choice(["x", *found])] = self.random.choice(WILD_OPTIONS)
        return found


_NEEDED = {
    "targetRefs",
    "hostname",
    "credentials",
    "matches",
    "value",
    "methods",
    "pathPrefix",
    "default",
    "allowedNamespaces",
}


@cache
def _fitting(pattern: str, least: int, most: int) -> list[str]:
    return [word for word in WORDS if least <= len(word) <= most and matches(pattern, word)]


def read(document: Mapping[str, Any]) -> Kind | None:
    """The document as a model; None if the models refuse it."""
    try:
        return KINDS[document["kind"]].read(dict(document))
    except ValidationError:
        return None


def version(kind: str, namespace: str, name: str, random: Random) -> Kind:
    """An accepted version of this object."""
    writer = Writer(random, mild=random.random() < 0.7)
    while True:
        labels = {"tier": "gold"} if random.random() < 0.5 else {}
        metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": labels}
        metadata["generation"] = random.randint(1, 9)
        if random.random() < 0.5:
            metadata["creationTimestamp"] = f"2026-01-0{random.randint(1, 9)}T00:00:00Z"
        spec = writer.value(SCHEMAS[kind]["properties"]["spec"])
        found = read({"apiVersion": "headgate.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
        if found is not None:
            return found


def put(ref: ObjectRef, random: Random, *, broken: float = 0.1) -> Put:
    """Some version of the object, now and then a broken one."""
    if random.random() < broken:
        return Put(ref, f"broken{random.random()}", Broken(Reason.INVALID_SPEC, "it can't be read", 7))
    found = version(ref.kind, ref.namespace, ref.name, random)
    return Put(ref, hashlib.sha256(found.model_dump_json().encode()).hexdigest(), found)


def refs() -> Iterator[ObjectRef]:
    """Every object that a world may have."""
    for kind, names in OBJECTS.items():
        for namespace in NAMESPACES:
            yield from (ObjectRef(kind, namespace, name) for name in names)


def puts(random: Random) -> list[Put]:
    """A world of our objects."""
    return [put(ref, random) for ref in refs() if random.random() < 0.7]


def data(random: Random, material: Mapping[str, bytes]) -> list[DataObject]:
    """Secrets and ConfigMaps; `material` has the PEM text for those that are to be sound."""
    found = []
    for kind in ("Secret", "ConfigMap"):
        for namespace in NAMESPACES:
            for name in DATA:
                if random.random() < 0.7:
                    keys = {key: SecretValue(value) for key, value in material.items() if random.random() < 0.8}
                    keys["token"] = SecretValue(random.choice([b"abc", b"abc\n", b"", b"a;b", b"\xff", b"a b"]))
                    keys["a"] = SecretValue(b"value")
                    found.append(DataObject(ObjectRef(kind, namespace, name), str(random.random()), keys))
    return found
