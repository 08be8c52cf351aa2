"""The Plan as plain data for people to read: no secret in it, nothing that is not said, the same text for the same Plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any

from headgate.model.fleet import Fleet, PodTemplate
from headgate.model.matches import RequestMatch
from headgate.model.plan import HeaderRules
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.verdict import Plan

REDACTED = "[redacted]"


def plan(outcome: Plan) -> dict[str, Any]:
    """What every gateway shall do."""
    return {"gateways": plain(outcome.gateways)}


def plain(value: Any) -> Any:
    """Frozen values as mappings, lists and scalars; a secret as the word that it is one; what is empty is left out."""
    match value:
        case SecretValue():
            return REDACTED
        case ObjectRef():
            return str(value)
        case Enum():
            return value.value
        case RequestMatch() if value == RequestMatch():
            return "everything"
        case Mapping():
            return {str(key): plain(inner) for key, inner in sorted(value.items(), key=lambda each: str(each[0]))}
        case tuple() | list():
            return [plain(inner) for inner in value]
        case frozenset():
            return sorted(plain(inner) for inner in value)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
            return {name: plain(inner) for name, inner in fields if not _is_empty(inner)}
        case _:
            return value


def _is_empty(value: object) -> bool:
    return value is None or value in ((), "") or value in (HeaderRules(), Fleet(), PodTemplate())
