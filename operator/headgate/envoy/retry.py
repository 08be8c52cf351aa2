"""Retries: the route's policy, and the filter that decides about answers. Pure.

Two parties decide, each about what it can see. Envoy's router repeats an attempt that ended without an answer
(`triggers`). About an answer the upstream filter decides, in `lua/upstream/retry.lua`: it reads from headers or body what
the answer means and when the provider wants to be asked again, weighs that against the policy's maximum and the caller's
remaining time, and marks the answer; the router repeats what is marked and waits as long as the mark says. So every other
answer passes untouched and at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import struct_pb2

from headgate.envoy.pack import any_of, duration, struct, uint32
from headgate.model.answers import AnswerMark
from headgate.model.plan import OnExceed, Retry, RetryTrigger, Section, Timeouts

#: Set by the deciding filter on an answer that is to be repeated, and the seconds to wait first.
MARK, WAIT = "x-hg-retry", "x-hg-wait"
#: When the call began, in milliseconds since 1970: from the route to the deciding filter.
STARTED = "x-hg-started"

#: What may be repeated whatever the method: nothing of the request reached the provider's application.
_HARMLESS = (RetryTrigger.CONNECT_FAILURE, RetryTrigger.REFUSED_STREAM, RetryTrigger.RESET_BEFORE_REQUEST)

_Policy = route_components_pb2.RetryPolicy


def decision(section: Section, timeouts: Timeouts) -> struct_pb2.Struct:
    """What the deciding filter reads from the route's metadata; empty without retries. Flat text, because the filter
    turns it into a Lua table at every answer.
    """
    retry = section.retry
    if retry is None:
        return struct_pb2.Struct()
    values: dict[str, str | int | bool] = {
        "attempts": retry.attempts,
        "statuses": _words(str(status) for status in retry.statuses),
        "methods": _words(retry.methods),
        "headers": ",".join(f"{header.name.lower()}={header.format}" for header in retry.reset_headers),
        "hint_max": retry.hint_max,
        "back_off": retry.on_exceed is OnExceed.BACK_OFF,
        "timeout": timeouts.request,
    }
    if retry.assumed_wait is not None:
        values["assumed_wait"] = retry.assumed_wait
    if retry.client_count_headers:
        values["counts"] = _words(name.lower() for name in retry.client_count_headers)
    if retry.marks:
        values["marks"] = _marks(retry.marks)
    inner = struct(values)
    return struct_pb2.Struct(fields={"headgate.retry": struct_pb2.Value(struct_value=inner)})


def _words(words: Iterable[str]) -> str:
    return f" {' '.join(words)} "


@lru_cache(maxsize=256)
def _marks(marks: tuple[AnswerMark, ...]) -> str:
    """As `lua/upstream/mark.lua` reads them. Remembered: all upstreams of a provider have the same."""
    return "\n".join(_mark(mark) for mark in marks)


def _mark(mark: AnswerMark) -> str:
    kind = "h" if mark.header else "f" if mark.field else ""
    name = mark.header.lower() if mark.header else mark.field
    statuses = ",".join(str(status) for status in mark.statuses)
    return "|".join([mark.meaning, statuses, kind, *(_part(text) for text in (name, *mark.texts))])


def _part(text: str) -> str:
    """Percent-encoded where it is not plain text, or would end a part."""
    plain = (chr(byte) if 0x20 <= byte < 0x7F and chr(byte) not in "%|" else f"%{byte:02X}" for byte in text.encode())
    return "".join(plain)


def splits(retry: Retry | None) -> bool:
    """Whether the section needs a route of its own for the methods that may be repeated after any reset."""
    return retry is not None and RetryTrigger.RESET in retry.triggers


def retry_policy(section: Section, *, repeatable: bool) -> _Policy | None:
    """The route's policy; `repeatable` tells whether the route is for `retry.methods` only."""
    retry = section.retry
    if retry is None:
        return None
    triggers = [each for each in retry.triggers if each in _HARMLESS or repeatable]
    policy = _Policy(
        retry_on=",".join(["retriable-headers", *triggers]),
        num_retries=uint32(retry.attempts),
        retriable_headers=[
            route_components_pb2.HeaderMatcher(name=MARK, string_match=string_pb2.StringMatcher(exact="1"))
        ],
        retry_back_off=_Policy.RetryBackOff(
            base_interval=duration(retry.back_off_base),
            max_interval=duration(max(retry.back_off_base, retry.back_off_max)),
        ),
        # The filter has compared the hint with the maximum; here it must only not be discarded.
        rate_limited_retry_back_off=_Policy.RateLimitedRetryBackOff(
            reset_headers=[_Policy.ResetHeader(name=WAIT, format=_Policy.SECONDS)],
            max_interval=duration(retry.hint_max + 1_000),
        ),
    )
    if retry.per_try_timeout is not None:
        policy.per_try_timeout.CopyFrom(duration(retry.per_try_timeout))
    if section.failover or not section.endpoints[0].literal:
        _elsewhere(policy, priorities=section.failover)
    return policy


def _elsewhere(policy: _Policy, *, priorities: bool) -> None:
    """Prefer, for each further attempt, a priority and a host that were not tried yet."""
    if priorities:
        config = previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=1)
        policy.retry_priority.name = "envoy.retry_priorities.previous_priorities"
        policy.retry_priority.typed_config.CopyFrom(any_of(config))
    policy.retry_host_predicate.add(
        name="envoy.retry_host_predicates.previous_hosts",
        typed_config=any_of(previous_hosts_pb2.PreviousHostsPredicate()),
    )
    policy.host_selection_retry_max_attempts = 3
