"""How a policy is attached: the Gateway API way (GEP-713, direct attachment)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from headgate.api.base import GROUP, Model, Rule
from headgate.api.types import Label, LabelValue, ObjectName, Seq

TargetKind = Literal["UpstreamService", "IntegrationGateway"]

#: On the CRDs of policies, so that tools which know GEP-713 find them.
POLICY_LABELS = {"gateway.networking.k8s.io/policy": "Direct"}


class TargetRef(Model):
    """An object in the policy's own namespace that the policy applies to, or one section of it."""

    group: Annotated[
        Literal["headgate.dev"], Field(default=GROUP, description="API group of the target. Default headgate.dev.")
    ]
    kind: Annotated[
        TargetKind,
        Field(
            description="UpstreamService: one API. IntegrationGateway: each API on that gateway, separately, wherever no nearer policy says otherwise."
        ),
    ]
    name: Annotated[ObjectName, Field(description="Name of the target, in the policy's own namespace.")]
    section_name: Annotated[
        Label | None,
        Field(
            default=None,
            description="One section of the UpstreamService, its own or one of its provider's profile. Left out: all of it.",
        ),
    ]

    rules = (
        Rule(
            "self.kind == 'UpstreamService' || !has(self.sectionName)",
            "sectionName belongs to an UpstreamService: leave it out for an IntegrationGateway",
            lambda self: self.kind == "UpstreamService" or self.section_name is None,
            "sectionName",
        ),
    )


class TargetSelector(Model):
    """Objects in the policy's own namespace, chosen by label."""

    group: Annotated[
        Literal["headgate.dev"], Field(default=GROUP, description="API group of the targets. Default headgate.dev.")
    ]
    kind: Annotated[
        TargetKind,
        Field(description="UpstreamService: single APIs. IntegrationGateway: each API on those gateways, separately."),
    ]
    match_labels: Annotated[
        dict[str, LabelValue],
        Field(min_length=1, max_length=16, description="Labels that a target must have, all of them."),
    ]


class PolicySpec(Model):
    """What the three policy kinds have in common."""

    target_refs: Annotated[
        Seq[TargetRef],
        Field(
            default=(),
            max_length=16,
            description="Objects that this policy applies to, by name. Give these or targetSelectors, or both.",
        ),
    ]
    target_selectors: Annotated[
        Seq[TargetSelector],
        Field(
            default=(),
            max_length=16,
            description="Objects that this policy applies to, by label, now and whenever one comes to carry it.",
        ),
    ]

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.targetRefs) && size(self.targetRefs) > 0) || (has(self.targetSelectors) && size(self.targetSelectors) > 0)",
            "name at least one target in targetRefs or targetSelectors",
            lambda self: bool(self.target_refs or self.target_selectors),
            "targetRefs",
        ),
    )
