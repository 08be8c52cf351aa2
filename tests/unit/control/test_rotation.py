"""When which step of a rotation is due."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from headgate.control.rotation import SPREAD, Roots, Step, due

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
FRESH = Roots(begins=NOW, ends=NOW + 30 * DAY, leaf_lifetime=DAY)


def test_a_root_is_replaced_well_before_it_runs_out() -> None:
    assert due(FRESH, NOW) is None
    assert due(FRESH, NOW + 19 * DAY) is None
    assert due(FRESH, NOW + 20 * DAY) is Step.BEGIN


def test_it_signs_once_everybody_can_know_it_and_not_before() -> None:
    begun = replace(FRESH, rotating=True, begun=NOW + 20 * DAY)
    assert due(begun, NOW + 20 * DAY + SPREAD - timedelta(seconds=1)) is None
    assert due(begun, NOW + 20 * DAY + SPREAD) is Step.COMPLETE


def test_a_root_that_has_run_out_is_replaced_at_once() -> None:
    late = replace(FRESH, rotating=True, begun=NOW + 30 * DAY)
    assert due(late, NOW + 30 * DAY) is Step.COMPLETE


def test_a_time_that_was_not_noted_is_noted_first() -> None:
    assert due(replace(FRESH, rotating=True), NOW) is Step.BEGIN


def test_the_old_root_is_trusted_until_what_it_signed_has_run_out() -> None:
    old = replace(FRESH, retiring=True, completed=NOW)
    assert due(old, NOW + DAY) is None
    assert due(old, NOW + DAY + SPREAD) is Step.RETIRE
    assert due(replace(old, completed=None), NOW + 10 * DAY) is None


def test_what_is_given_is_never_renewed_by_us_and_taken_over_when_it_is_new() -> None:
    given = replace(FRESH, given=True)
    assert due(given, NOW + 29 * DAY) is None
    assert due(replace(given, other=True), NOW) is Step.BEGIN
    # One that comes in the midst of a rotation takes the place of the one that was to come.
    assert due(replace(given, other=True, rotating=True, begun=NOW - DAY), NOW) is Step.BEGIN
