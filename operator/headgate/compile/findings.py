"""What is wrong with one object, gathered while it is compiled.

A Findings is made for one object at the start of its compile and read at the end; no feature stops the others, so that
a user sees everything there is to mend at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from headgate.api.conditions import ConditionStatus, Reason
from headgate.api.types import millis
from headgate.model.plan import Millis
from headgate.model.refs import ObjectRef
from headgate.model.shared import shared
from headgate.model.verdict import Finding, Judgement, Path

#: Characters that a condition's message may have, with room for what is added to it.
MESSAGE_MAX = 32_000


@dataclass(slots=True)
class Findings:
    """`invalid`: against Accepted; `unresolved`: against ResolvedRefs."""

    invalid: list[Finding] = field(default_factory=list)
    unresolved: list[Finding] = field(default_factory=list)

    def reject(self, path: Path, message: str, reason: Reason = Reason.INVALID_SPEC) -> None:
        """Something in the object itself can't be accepted."""
        self.invalid.append(Finding(path, reason, message))

    def miss(self, path: Path, message: str, reason: Reason, about: ObjectRef | None = None) -> None:
        """Something that the object refers to (`about`) is not there or not usable."""
        self.unresolved.append(Finding(path, reason, message, about))

    def duration(
        self, path: Path, text: str | None, default: Millis, least: Millis = 0, most: Millis | None = None
    ) -> Millis:
        """A duration within its bounds, or `default` where none is given or it is out of them."""
        value = self.given_duration(path, text, least, most)
        return default if value is None else value

    def given_duration(
        self, path: Path, text: str | None, least: Millis = 0, most: Millis | None = None
    ) -> Millis | None:
        """A duration within its bounds; None where none is given or it is out of them."""
        if text is None:
            return None
        value = millis(text)
        if value < least:
            self.reject(path, f"{text} is too short: the least is {spell_duration(least)}")
        elif most is not None and value > most:
            self.reject(path, f"{text} is too long: the most is {spell_duration(most)}")
        else:
            return value
        return None

    def unique(self, path: Path, names: Sequence[str], what: str) -> None:
        """Every name of a list of named things may come once."""
        seen: set[str] = set()
        for index, name in enumerate(names):
            if name in seen:
                self.reject((*path, index), f"there is already {what} {name}: names must differ")
            seen.add(name)


def spell_duration(value: Millis) -> str:
    """As a user would write it."""
    if value == 0:
        return "0s"
    text = ""
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, value = divmod(value, size)
        text += f"{count}{unit}" if count else ""
    return text


def judge(findings: Sequence[Finding], good: Reason) -> Judgement:
    """True with `good` where nothing was found, else False with the first reason and all messages."""
    if not findings:
        return shared(Judgement(ConditionStatus.TRUE, good))
    message = "; ".join(str(each) for each in dict.fromkeys(findings))
    if len(message) > MESSAGE_MAX:
        message = f"{message[: MESSAGE_MAX - 3]}..."
    return Judgement(ConditionStatus.FALSE, findings[0].reason, message)
