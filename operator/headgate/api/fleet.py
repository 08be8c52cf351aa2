"""The fleet of a gateway: how many proxies, of what size, where they run, and how they end. It counts in a cluster only."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from headgate.api.base import Model, Rule
from headgate.api.podtemplate import PodTemplate
from headgate.api.rules import at_most, not_shorter
from headgate.api.types import ByteQuantity, CpuQuantity, Duration


class ScaleDown(Model):
    """How proxies are taken away."""

    stabilization_window: Annotated[
        Duration | None,
        Field(
            default=None,
            description="A lull must last so long before a proxy goes, at most 1h. Default 5m.",
        ),
    ]

    rules = (at_most("stabilizationWindow", "1h"),)


class Scaling(Model):
    """How many proxies."""

    min_replicas: Annotated[
        int | None,
        Field(
            default=None,
            ge=1,
            le=1000,
            description="So many proxies at least. Default 2, or maxReplicas if that is less.",
        ),
    ]
    max_replicas: Annotated[
        int | None,
        Field(
            default=None,
            ge=1,
            le=1000,
            description="So many proxies at most. As many as minReplicas: always that many, and no autoscaler. Default 10, or minReplicas if that is more.",
        ),
    ]
    target_cpu: Annotated[
        CpuQuantity | None,
        Field(
            default=None,
            alias="targetCPU",
            description="CPU that a proxy uses on average, such as 600m; the number of proxies is brought to that. A proxy can't use much more than 1. Default 600m.",
        ),
    ]
    target_requests_in_flight: Annotated[
        int | None,
        Field(
            default=None,
            ge=1,
            le=1_000_000,
            description="Calls that a proxy has in flight on average, open streams included; there are at least as many proxies as that asks for. Default 500.",
        ),
    ]
    scale_down: Annotated[ScaleDown | None, Field(default=None, description="How proxies are taken away.")]

    rules = (
        Rule(
            "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            "maxReplicas must not be less than minReplicas",
            lambda self: (
                self.min_replicas is None or self.max_replicas is None or self.min_replicas <= self.max_replicas
            ),
            "maxReplicas",
        ),
    )


class ResourceAmounts(Model):
    """CPU and memory."""

    cpu: Annotated[
        CpuQuantity | None,
        Field(default=None, description="CPU, such as 500m or 2. Left out: 100m is requested, and there is no limit."),
    ]
    memory: Annotated[
        ByteQuantity | None,
        Field(
            default=None,
            description="Memory, such as 512Mi, at least 64Mi. Left out: as much as the other one of requests and limits, else 512Mi.",
        ),
    ]


class Resources(Model):
    """Of one proxy."""

    requests: Annotated[
        ResourceAmounts | None, Field(default=None, description="What a node must have free for a proxy.")
    ]
    limits: Annotated[
        ResourceAmounts | None,
        Field(
            default=None,
            description="What a proxy may use. At 85% of its memory it refuses calls. A CPU limit holds it up in the midst of calls.",
        ),
    ]


class Deployment(Model):
    """The pods of the proxies."""

    image: Annotated[
        str | None,
        Field(
            default=None,
            min_length=1,
            max_length=512,
            pattern=r"^[\x21-\x7E]+$",
            description="Image of Envoy, of a version that Headgate is made for. Default: the installation's.",
        ),
    ]
    resources: Annotated[Resources | None, Field(default=None, description="CPU and memory of one proxy.")]
    pod_template: Annotated[
        PodTemplate | None,
        Field(
            default=None,
            description="What is added to the pods. Their container, security context and own labels stay as they are.",
        ),
    ]


class Drain(Model):
    """How a proxy ends."""

    min_duration: Annotated[
        Duration | None,
        Field(
            default=None,
            description="A proxy that is told to end goes on taking calls for so long at least, until all nodes know that it goes; at most 1h. Default 10s, or timeout if that is less.",
        ),
    ]
    timeout: Annotated[
        Duration | None,
        Field(
            default=None,
            description="So long calls in flight are waited for, then they are cut off; at most 1h. Default 5m, or minDuration if that is more.",
        ),
    ]

    rules = (at_most("minDuration", "1h"), at_most("timeout", "1h"), not_shorter("timeout", "minDuration"))
