"""pydantic and the CRD give the same verdict on whatever a user may write."""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Annotated, Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from harness.admission import complaints, matches
from headgate.api.kinds import KINDS
from headgate.api.schema import structural_schema

Schema = Mapping[str, Any]
Document = dict[str, Any]

SCHEMAS = {name: structural_schema(kind) for name, kind in KINDS.items()}

#: Strings of which each pattern finds some that it takes and some that it does not.
WORDS = [
    *("a", "default", "generic", "gemini", "a-b", "a.b", "A_b", "api.example", "-a", "a-", "a..b", "A", ""),
    *("1s", "100ms", "99ms", "1m30s", "0s", "10m1ms", "1h", "99999h", "100000h", "1s1s1s1s", "1s1s1s1s1s", "1", "1d"),
    *("/", "/v1", "/v1?x", "/v1#x", "/é", "/a b", "v1", "//", "/\u00a0", "/\u2028", "/\x7f"),
    *("10.0.0.0/8", "::/0", "fe80::1", "::1", "10.0.0.0/1000", "10.0.0.1"),
    *("GET", "get", "PATCH", "Authorization", "x-api-key", "x y", "Bearer ", "Bearer\t", "a\n", "a\x00", "é"),
    *("a" * 63, "a" * 64, "é" * 63, "a" * 253, "a" * 254, "/" + "a" * 1023, "/" + "a" * 1024, "😀" * 1024),
]
SIZES: list[Any] = [0, 1, 1048576, 2**50, "0", "10Mi", "1.5Gi", "500k", "1e6"]
JUNK: list[Any] = [
    "1.5.5",
    "Mi",
    "10MB",
    "1m",
    "-1",
    ".5Gi",
    "1.Gi",
    2**50 + 1,
    None,
    True,
    False,
    0,
    1,
    -1,
    1.0,
    1.5,
    443.0,
    2**31,
    2**63,
    10**400,
    1e300,
    "",
    "443",
    "true",
    "a\n",
    [],
    {},
]
JUNK += [[None], [""], [1], [{}], [[]], {"name": "a"}, {"a": None}, {"a": "b"}, {"": ""}, ["GET", "GET"], [200, 200.0]]


@dataclass
class Writer:
    """Writes specs as a user might: from a seed, so that thousands are quick and each can be had again.

    Hypothesis chooses the seeds only: drawing every choice from it, and shrinking, would take minutes.
    """

    random: Random

    def value(self, schema: Schema, depth: int = 0) -> Any:
        """Something that the schema takes, if not always its rules."""
        match str(schema.get("type", "")):
            case "":
                return self.random.choice([*SIZES, self.string(schema)])
            case "string":
                return self.string(schema)
            case "integer":
                number = self.random.choice(
                    [schema["minimum"], schema["maximum"], self.random.randint(schema["minimum"], 600)]
                )
                number = min(number, schema["maximum"])
                return float(number) if self.random.random() < 0.1 else number
            case "boolean":
                return self.random.random() < 0.5
            case "array":
                most = min(schema["maxItems"], self.random.choice([1, 1, 1, 2]))
                return [self.value(schema["items"], depth + 1) for _ in range(max(schema.get("minItems", 0), most))]
            case _:
                return self.object(schema, depth)

    def string(self, schema: Schema) -> str:
        if "enum" in schema:
            return str(self.random.choice(schema["enum"]))
        fitting = _fitting(schema.get("pattern", ""), schema.get("minLength", 0), schema["maxLength"])
        return self.random.choice(fitting)

    def object(self, schema: Schema, depth: int) -> Document:
        if "additionalProperties" in schema:
            return {self.random.choice(WORDS): self.value(schema["additionalProperties"]) for _ in range(2)}
        required = schema.get("required", ())
        # The deeper, the fewer: an object with everything in it breaks some rule.
        chance = 0.5 / (1 + depth)
        return {
            name: self.value(inner, depth + 1)
            for name, inner in schema["properties"].items()
            if name in required or self.random.random() < chance or self.needed(name)
        }

    def needed(self, name: str) -> bool:
        """Fields without which most specs would break a rule, and tell nothing else."""
        return name in {"targetRefs", "hostname", "matches", "value", "methods"} and self.random.random() < 0.5

    def spec(self, kind: str) -> Document:
        """A spec that is right, or nearly so: changed in up to three places as by a slip of the hand."""
        document = {"spec": self.value(SCHEMAS[kind]["properties"]["spec"])}
        for _ in range(self.random.choice([0, 0, 0, 1, 1, 2, 3])):
            if found := list(places(document)):
                self.slip(*self.random.choice(found))
        return document

    def slip(self, holder: Any, key: Any) -> None:
        match self.random.choice(["drop", "junk", "word", "twice", "more", "rename", "newline", "typo"]):
            case "drop":
                del holder[key]
            case "junk":
                holder[key] = copy.deepcopy(self.random.choice(JUNK))
            case "word":
                holder[key] = self.random.choice(WORDS)
            case "twice" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case "more" if isinstance(holder, dict):
                holder["unheard"] = copy.deepcopy(self.random.choice(JUNK))
            case "rename" if isinstance(holder, dict):
                holder[re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", key)] = holder.pop(key)
            case "newline" if isinstance(holder[key], str):
                holder[key] += "\n"
            case "typo" if isinstance(holder[key], str):
                at = self.random.randint(0, len(holder[key]))
                holder[key] = holder[key][:at] + self.random.choice("aZ0-._ /?\té\u2028") + holder[key][at + 1 :]
            case _:
                pass


@cache
def _fitting(pattern: str, least: int, most: int) -> list[str]:
    return [word for word in WORDS if least <= len(word) <= most and matches(pattern, word)]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document: what holds it, and its key or index there."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield value, key
        yield from places(inner)


def sample(kind: str, seed: int) -> Document:
    head = {"apiVersion": "headgate.dev/v1alpha1", "kind": kind, "metadata": {"name": "a"}}
    return head | Writer(Random(seed)).spec(kind)


def read(kind: str, document: Document) -> list[str]:
    """What pydantic refuses the document for, empty if it takes it."""
    try:
        KINDS[kind].read(copy.deepcopy(document))
    except ValidationError as error:
        return [f"{found['loc']}: {found['msg']}" for found in error.errors()]
    return []


SEEDS = st.integers(0, 2**64)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=2000, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(seed=SEEDS)
def test_on_a_spec(kind: str, seed: int) -> None:
    document = sample(kind, seed)
    ours, servers = read(kind, document), complaints(SCHEMAS[kind], document)
    assert bool(ours) == bool(servers), (document, ours, servers)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=500, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(seed=SEEDS)
def test_what_is_read_is_written_as_it_was(kind: str, seed: int) -> None:
    """Nothing that a spec says is lost on the way through the model."""
    document = sample(kind, seed)
    if complaints(SCHEMAS[kind], document):
        return
    spec = KINDS[kind].read(document).model_dump(mode="json", by_alias=True, exclude_unset=True)["spec"]
    assert spec == heard(document["spec"], SCHEMAS[kind]["properties"]["spec"])


def heard(value: Any, schema: Schema) -> Any:
    """What a document says in fields that the schema has, without nulls."""
    if isinstance(value, list):
        return [heard(item, schema["items"]) for item in value]
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        return {key: heard(item, known[key]) for key, item in value.items() if key in known and item is not None}
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if item is not None}
    return value


@pytest.mark.parametrize("kind", KINDS)
def test_the_samples_hold_enough_of_both_verdicts(kind: str) -> None:
    """Or the tests above would compare nothing."""
    verdicts = [bool(read(kind, sample(kind, seed))) for seed in range(400)]
    assert verdicts.count(True) >= 60
    assert verdicts.count(False) >= 60


@pytest.mark.parametrize("name", ["a", "a-1", "0", "a" * 63, "a" * 64, "a.b"])
def test_on_the_name_of_an_upstream(name: str) -> None:
    """Of the names that any object may have, which the server itself sees to."""
    document = {"kind": "UpstreamService", "metadata": {"name": name}, "spec": {"hostname": "api.example"}}
    assert bool(read("UpstreamService", document)) == bool(complaints(SCHEMAS["UpstreamService"], document))


def patterns(schema: Schema) -> Iterator[str]:
    if "pattern" in schema:
        yield schema["pattern"]
    inner = [
        *schema.get("properties", {}).values(),
        *(schema[key] for key in ("items", "additionalProperties") if key in schema),
    ]
    for part in inner:
        yield from patterns(part)


PATTERNS = sorted({pattern for schema in SCHEMAS.values() for pattern in patterns(schema)})
AWKWARD = [*WORDS, "a\r", "a\u0085", "a\u2028", "\u0661s", "\uff11s", "\uff21", "\u212a", "\u017f"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_on_a_pattern(pattern: str) -> None:
    """Awkward strings, digits and letters of other scripts among them: pydantic's engine against RE2."""
    adapter: TypeAdapter[str] = TypeAdapter(Annotated[str, Field(pattern=pattern)])
    for word in AWKWARD:
        try:
            adapter.validate_python(word)
            taken = True
        except ValidationError:
            taken = False
        assert taken == matches(pattern, word), word
    assert {matches(pattern, word) for word in AWKWARD} == {True, False}
