"""What may be added to a gateway's pods: typed, so that it is checked when it is applied, and no more than can break nothing.

Names and meaning are those of a pod's own template. Left out on purpose: containers, volumes and security contexts, which
a proxy depends on; and affinity between pods, for which topologySpreadConstraints are there.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from headgate.api.base import Model
from headgate.api.types import BY_NAME, LabelValue, ObjectName, Seq

#: A label's or taint's key.
Key = Annotated[str, Field(min_length=1, max_length=317, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$")]


class PodMetadata(Model):
    """Labels and annotations of the pods."""

    labels: Annotated[
        dict[str, LabelValue],
        Field(
            default_factory=dict,
            max_length=16,
            description="Labels that are added to Headgate's own. Those that begin with headgate.dev/, and app.kubernetes.io/name, managed-by and component, are Headgate's.",
        ),
    ]
    annotations: Annotated[
        dict[str, Annotated[str, Field(max_length=4096)]],
        Field(default_factory=dict, max_length=16, description="Annotations."),
    ]


class Toleration(Model):
    """A taint that the pods put up with."""

    key: Annotated[Key | None, Field(default=None, description="The taint's key. Left out, with Exists: every one.")]
    operator: Annotated[
        Literal["Equal", "Exists"] | None,
        Field(default=None, description="Equal: the taint has this value. Exists: whatever its value. Default Equal."),
    ]
    value: Annotated[LabelValue | None, Field(default=None, description="The taint's value, for Equal. Default empty.")]
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None,
        Field(
            default=None,
            description="The taint's effect: NoSchedule, PreferNoSchedule or NoExecute. Default: all three.",
        ),
    ]
    toleration_seconds: Annotated[
        int | None,
        Field(
            default=None,
            ge=0,
            le=2**31 - 1,
            description="For NoExecute: how long the pods stay on a node that gets the taint. Default: for ever.",
        ),
    ]


class NodeExpression(Model):
    """A condition on a node's labels."""

    key: Annotated[Key, Field(description="The label's key.")]
    operator: Annotated[
        Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"],
        Field(
            description="In, NotIn: its value is one, or none, of values. Exists, DoesNotExist: it is there, or not. Gt, Lt: as a number it is greater, or less, than the one in values."
        ),
    ]
    values: Annotated[
        Seq[LabelValue], Field(default=(), max_length=32, description="Values, for In, NotIn, Gt and Lt.")
    ]


class NodeTerm(Model):
    """Conditions that a node must meet, all of them."""

    match_expressions: Annotated[
        Seq[NodeExpression], Field(min_length=1, max_length=16, description="Conditions on the node's labels.")
    ]


class NodeSelector(Model):
    """Which nodes will do."""

    node_selector_terms: Annotated[
        Seq[NodeTerm], Field(min_length=1, max_length=8, description="A node must meet one of these.")
    ]


class PreferredNodes(Model):
    """Nodes that are better than others."""

    weight: Annotated[int, Field(ge=1, le=100, description="How much better, from 1 to 100.")]
    preference: Annotated[NodeTerm, Field(description="Which nodes.")]


class NodeAffinity(Model):
    """Rules about nodes."""

    required_during_scheduling_ignored_during_execution: Annotated[
        NodeSelector | None, Field(default=None, description="Nodes that will do. Left out: all of them.")
    ]
    preferred_during_scheduling_ignored_during_execution: Annotated[
        Seq[PreferredNodes], Field(default=(), max_length=16, description="Nodes that are better than others.")
    ]


class Affinity(Model):
    """Where the pods run."""

    node_affinity: Annotated[NodeAffinity | None, Field(default=None, description="Rules about nodes.")]


class TopologySpreadConstraint(Model):
    """How the pods are spread. It counts this gateway's pods, those of each rollout by themselves."""

    topology_key: Annotated[
        Key, Field(description="The nodes' label that tells a zone, a host or the like from another.")
    ]
    max_skew: Annotated[
        int, Field(ge=1, le=1000, description="So many pods more than in the emptiest one may be in one of them.")
    ]
    when_unsatisfiable: Annotated[
        Literal["DoNotSchedule", "ScheduleAnyway"],
        Field(description="DoNotSchedule: the pod waits. ScheduleAnyway: it runs where it is least amiss."),
    ]
    min_domains: Annotated[
        int | None,
        Field(
            default=None, ge=1, le=1000, description="There should be so many of them, for DoNotSchedule. Default 1."
        ),
    ]


class PullSecret(Model):
    """A Secret in the gateway's namespace."""

    name: Annotated[ObjectName, Field(description="Name of the Secret, of type kubernetes.io/dockerconfigjson.")]


class PodSpec(Model):
    """Where and as what the pods run."""

    node_selector: Annotated[
        dict[str, LabelValue],
        Field(
            default_factory=dict,
            max_length=16,
            description="Labels that a node must have, besides kubernetes.io/os: linux.",
        ),
    ]
    tolerations: Annotated[
        Seq[Toleration], Field(default=(), max_length=32, description="Taints that the pods put up with.")
    ]
    affinity: Annotated[Affinity | None, Field(default=None, description="Where the pods run.")]
    topology_spread_constraints: Annotated[
        Seq[TopologySpreadConstraint],
        Field(
            default=(),
            max_length=8,
            description="How the pods are spread. Default: evenly over zones and over hosts, as far as possible.",
        ),
    ]
    priority_class_name: Annotated[
        ObjectName | None, Field(default=None, description="PriorityClass of the pods. Default: the cluster's default.")
    ]
    runtime_class_name: Annotated[
        ObjectName | None, Field(default=None, description="RuntimeClass of the pods. Default: the cluster's default.")
    ]
    image_pull_secrets: Annotated[
        Seq[PullSecret],
        Field(default=(), max_length=8, description="Secrets for the image's registry, besides the installation's."),
        BY_NAME,
    ]


class PodTemplate(Model):
    """What is added to a gateway's pods."""

    metadata: Annotated[PodMetadata | None, Field(default=None, description="Labels and annotations of the pods.")]
    spec: Annotated[PodSpec | None, Field(default=None, description="Where and as what the pods run.")]
