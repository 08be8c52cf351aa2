"""Which proxy an answer, a report or a load is from: what healing and scaling hold against each other."""

from __future__ import annotations

from envoy.config.endpoint.v3 import load_report_pb2
from envoy.service.load_stats.v3 import lrs_pb2

from headgate.envoy.metadata import CircuitState, SectionReport
from headgate.envoy.resource import TypeUrl
from headgate.xds.feedback import Feedback
from headgate.xds.loads import Loads
from headgate.xds.reports import Reports

EDGE = "team/edge"
REPORT = SectionReport("team/api/default", CircuitState.NONE, 5, 3, 0, "", "", 10, 0, 1000, 0, 0)


def test_a_proxy_is_behind_until_it_has_answered_for_everything() -> None:
    feedback = Feedback()
    one, _ = (feedback.connect(EDGE, f"{EDGE}/{name}") for name in ("one", "two"))
    one.pending(TypeUrl.CLUSTER, ["a", "b"])
    assert feedback.view(EDGE).behind == (f"{EDGE}/one",)
    one.settled(TypeUrl.CLUSTER, ["a"])
    assert feedback.view(EDGE).behind == (f"{EDGE}/one",)
    # What it refuses it has answered for: its peers will refuse that too.
    one.rejected(TypeUrl.CLUSTER, "b", "1", "no")
    assert feedback.view(EDGE).behind == ()


def test_a_report_says_whose_it_is_and_when_it_came() -> None:
    reports = Reports()
    reports.know(1, f"{EDGE}/one")
    for stream in (1, 2):
        reports.take(EDGE, stream, REPORT)
    known, unknown = reports.all()[EDGE, REPORT.section]
    assert (known.node, unknown.node) == (f"{EDGE}/one", "")
    assert known.heard is not None
    # To a status the two say the same.
    assert known == unknown
    reports.forget(EDGE, 1)
    assert [each.node for each in reports.all()[EDGE, REPORT.section]] == [""]


def test_a_report_that_says_the_same_again_is_news_to_other_replicas_alone() -> None:
    changes: list[str] = []
    sections: list[tuple[str, str]] = []
    reports = Reports(changes.append, on_section=lambda *each: sections.append(each))
    for _ in range(3):
        reports.take(EDGE, 1, REPORT)
    assert changes == [EDGE]
    assert sections == [(EDGE, REPORT.section)] * 3


def test_of_an_upstream_that_is_gone_nothing_is_remembered() -> None:
    changes: list[str] = []
    reports = Reports(on_section=lambda _, section: changes.append(section))
    upstream = REPORT.section.rpartition("/")[0]
    reports.serve({EDGE: {upstream: None, "team/other": None}})
    reports.take(EDGE, 1, REPORT)
    reports.serve({EDGE: {upstream: None}})
    assert reports.all()
    reports.serve({EDGE: {}})
    assert not reports.all()
    assert changes == [REPORT.section] * 2, "the other replicas are told"


def request(**clusters: dict[int, tuple[int, int, int]]) -> lrs_pb2.LoadStatsRequest:
    """By cluster and priority: in flight, well, badly."""
    found = lrs_pb2.LoadStatsRequest()
    for name, priorities in clusters.items():
        cluster = found.cluster_stats.add(cluster_name=name.replace("__", "/"))
        for priority, (active, well, badly) in priorities.items():
            cluster.upstream_locality_stats.append(
                load_report_pb2.UpstreamLocalityStats(
                    priority=priority,
                    total_requests_in_progress=active,
                    total_successful_requests=well,
                    total_error_requests=badly,
                )
            )
    return found


def test_a_load_is_the_sum_over_sections_and_nothing_of_our_own() -> None:
    loads = Loads()
    loads.take(
        EDGE, 1, f"{EDGE}/one", request(t__a__x={0: (2, 5, 1)}, t__b__x={0: (1, 0, 3)}, headgate_xds_0={0: (9, 9, 9)})
    )
    (load,) = loads.all()[EDGE]
    assert (load.node, load.in_flight, load.calls, load.failures, load.moved) == (f"{EDGE}/one", 3, 9, 4, ())


def test_a_section_has_moved_where_its_calls_succeed() -> None:
    loads = Loads()

    def moved(**clusters: dict[int, tuple[int, int, int]]) -> tuple[tuple[str, int], ...]:
        loads.take(EDGE, 1, f"{EDGE}/one", request(**clusters))
        return loads.all()[EDGE][0].moved

    assert moved(t__a__x={0: (0, 0, 3), 1: (0, 1, 0)}) == (("t/a/x", 1),)
    # No call says nothing, nor does one that fails.
    assert moved() == (("t/a/x", 1),)
    assert moved(t__a__x={0: (1, 0, 1)}) == (("t/a/x", 1),)
    assert moved(t__a__x={0: (0, 2, 0), 1: (0, 1, 0)}) == ()


def test_a_proxy_that_has_connected_anew_has_one_load() -> None:
    loads = Loads()
    loads.take(EDGE, 1, f"{EDGE}/one", request(t__a__x={0: (2, 0, 0)}))
    loads.take(EDGE, 2, f"{EDGE}/one", request(t__a__x={0: (4, 0, 0)}))
    assert [each.in_flight for each in loads.all()[EDGE]] == [4]
    loads.forget(EDGE, 2)
    loads.forget(EDGE, 1)
    assert EDGE not in loads.all()
