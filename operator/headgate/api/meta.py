"""Kubernetes object metadata, as far as Headgate reads it, and the shape that all kinds share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from headgate.api.base import API_VERSION, Model


def _no_null(value: object) -> object:
    return {} if value is None else value


class ObjectMeta(Model):
    """`metadata`. A folder of YAML has no uid, generation or creation time: the files source fills what it can."""

    # The API server owns this part and writes times as text: no strictness of ours.
    model_config = ConfigDict(strict=False)

    name: Annotated[str, Field(min_length=1, max_length=253)]
    namespace: str = "default"
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    labels: Annotated[dict[str, str], BeforeValidator(_no_null), Field(default_factory=dict)]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; `priority` 0 is always shown, 1 with `-o wide`."""

    name: str
    json_path: str
    type: Literal["string", "integer", "date", "boolean"] = "string"
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class Names:
    """How the API server and people call a kind."""

    kind: str
    plural: str
    singular: str
    short: tuple[str, ...] = ()


AGE = Column("Age", ".metadata.creationTimestamp", "date")
READY = Column("Ready", '.status.conditions[?(@.type=="Ready")].status', description="What was declared is in force.")


class Kind(Model):
    """One custom resource, whole."""

    names: ClassVar[Names]
    columns: ClassVar[tuple[Column, ...]]

    api_version: Annotated[str, Field(default=API_VERSION)]
    kind: str
    metadata: ObjectMeta
