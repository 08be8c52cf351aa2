"""Kubernetes object metadata, as far as Headgate reads it, and the shape that all kinds share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field

from headgate.api.base import API_VERSION, SHARING, Model
from headgate.api.types import Label, ObjectName


class ObjectMeta(Model):
    """`metadata`. A folder of YAML has no uid, generation or creation time: the files source fills what it can."""

    # The API server owns this part and writes times as text: no strictness of ours.
    model_config = ConfigDict(strict=False)
    open_ended: ClassVar[bool] = True

    name: ObjectName
    namespace: Label = "default"
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    labels: Annotated[dict[str, str], Field(default_factory=dict)]


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


AGE = Column("Age", ".metadata.creationTimestamp", "date", description="Since when the object has been there.")
READY = Column("Ready", '.status.conditions[?(@.type=="Ready")].status', description="What was declared is in force.")


#: What is wrong, for whoever looks at many objects at 3 a.m.; empty where nothing is.
TROUBLE = (
    Column("Reason", ".status.reason", description="What is wrong, in one word."),
    Column("Since", ".status.since", "date", description="Since when it has been wrong."),
)
MESSAGE = Column(
    "Message",
    '.status.conditions[?(@.status!="True")].message',
    priority=1,
    description="What is wrong and what to do about it.",
)


class Kind(Model):
    """One custom resource, whole."""

    names: ClassVar[Names]
    columns: ClassVar[tuple[Column, ...]]
    #: Labels of the CRD itself.
    labels: ClassVar[Mapping[str, str]] = {}

    api_version: Annotated[str, Field(default=API_VERSION)]
    kind: str
    metadata: ObjectMeta

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """The object that a document from outside declares; pydantic's ValidationError where it is none.

        Unlike `model_validate` it hears only the names that the CRD has (`basePath`), never Python's (`base_path`).
        """
        return cls.model_validate(dict(document), by_alias=True, by_name=False, context=SHARING)
