"""Active health checks, and leaving out an endpoint that fails in traffic. Pure.

Active checks go past the address guard, so they are rendered only where they can reach nothing that the guard would
refuse to a call: the gateway's owner has allowed private ranges, or every endpoint is a literal public address or one
that is fixed.
"""

from __future__ import annotations

from envoy.config.cluster.v3 import cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import health_check_pb2
from envoy.type.v3 import http_pb2, range_pb2

from headgate.envoy.pack import boolean, duration, uint32
from headgate.model.addresses import refuses
from headgate.model.plan import HealthCheck, Section

#: Milliseconds for which an endpoint is left out the first time (then twice, three times, ...) and at most.
EJECTION = (5_000, 60_000)
#: Failures in a row after which an endpoint is left out.
CONSECUTIVE_FAILURES = 3


def checks_permitted(section: Section) -> bool:
    """Whether an active check of this section can't reach what the address guard refuses."""
    if section.allowed_cidrs:
        return True
    return all(each.dial or (each.literal and not refuses(each.hostname)) for each in section.endpoints)


def watch(cluster: cluster_pb2.Cluster, section: Section) -> None:
    """Set active checks, outlier detection and what follows from them."""
    # Without the zero Envoy sends calls to hosts known to be down as soon as half of them are.
    cluster.common_lb_config.healthy_panic_threshold.value = 0.0
    # A host that DNS no longer has goes at once, healthy or not; calls in flight are drained.
    cluster.ignore_health_on_host_removal = True
    if section.failover:
        cluster.outlier_detection.CopyFrom(_endpoint_outliers())
    elif not section.endpoints[0].literal:
        cluster.outlier_detection.CopyFrom(_address_outliers())
    if section.health_check is not None and checks_permitted(section):
        cluster.health_checks.append(_check(section.health_check, tls=section.tls is not None))


def _address_outliers() -> outlier_detection_pb2.OutlierDetection:
    """Of the addresses of one name those that can't be reached are left out, never more than half of them: whether
    the provider as a whole gets calls is for the section's breaker to say.
    """
    return outlier_detection_pb2.OutlierDetection(
        interval=duration(1_000),
        base_ejection_time=duration(EJECTION[0]),
        max_ejection_time=duration(EJECTION[1]),
        max_ejection_percent=uint32(50),
        always_eject_one_host=boolean(False),
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=uint32(CONSECUTIVE_FAILURES),
        enforcing_consecutive_local_origin_failure=uint32(100),
        enforcing_consecutive_gateway_failure=uint32(0),
        enforcing_consecutive_5xx=uint32(0),
        enforcing_success_rate=uint32(0),
        enforcing_local_origin_success_rate=uint32(0),
        enforcing_failure_percentage=uint32(0),
    )


def _endpoint_outliers() -> outlier_detection_pb2.OutlierDetection:
    """An endpoint is left out when it can't be reached or its gateway says so, not when it answers 500: that is an
    answer, and another endpoint of the same provider would give the same.
    """
    message = _address_outliers()
    message.max_ejection_percent.value = 100
    message.always_eject_one_host.value = True
    message.consecutive_gateway_failure.value = CONSECUTIVE_FAILURES
    message.enforcing_consecutive_gateway_failure.value = 100
    return message


def _check(check: HealthCheck, *, tls: bool) -> health_check_pb2.HealthCheck:
    http = health_check_pb2.HealthCheck.HttpHealthCheck(
        path=check.path,
        method=check.method,
        codec_client_type=http_pb2.HTTP1,
        expected_statuses=[range_pb2.Int64Range(start=each.low, end=each.high + 1) for each in check.expected],
        # Otherwise a single unexpected status leaves the endpoint out, whatever the threshold.
        retriable_statuses=[range_pb2.Int64Range(start=100, end=600)],
    )
    message = health_check_pb2.HealthCheck(
        timeout=duration(check.timeout),
        interval=duration(check.interval),
        # Otherwise a cluster without traffic is checked once a minute.
        no_traffic_interval=duration(check.interval),
        interval_jitter_percent=10,
        unhealthy_threshold=uint32(check.unhealthy_threshold),
        healthy_threshold=uint32(check.healthy_threshold),
        http_health_check=http,
    )
    if tls:
        message.tls_options.alpn_protocols.append("http/1.1")
    return message
