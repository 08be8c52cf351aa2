"""Regular expressions for the selectors of limits, as tables of a deterministic automaton. Pure.

The gateway's Lua filter has no RE2, and Lua's own patterns are neither regular expressions nor safe. So an expression is
turned into an automaton here, and matching costs one table step per byte, whatever the input. What is accepted is the
part of RE2's syntax that a selector needs:

- characters, `.`, escapes (`\\.`, `\\d \\D \\w \\W \\s \\S`, `\\t \\n \\r \\f \\v`, `\\xHH`), classes `[a-z0-9_]`, `[^/]`
- groups `(...)`, `(?:...)`, alternatives `a|b`
- `* + ? {n} {n,} {n,m}`, each also with a following `?`, which changes nothing for a match of the whole
- `^` at the beginning and `$` at the end of an alternative outside of groups: the whole value is matched anyway
- `(?i)` and `(?s)` at the very beginning

The expression is ASCII; a byte of a value beyond ASCII is one character that `.` and negated classes match. Everything
else (`\\b`, look-around, back-references, named groups, Unicode classes) is refused by `RegexError`, as is an expression
whose automaton is larger than MAX_STATES.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

#: States of the automaton. An ordinary selector has 5 to 50.
MAX_STATES: Final = 256
#: Parts of the expression once its counted repetitions are written out.
MAX_PARTS: Final = 2_000

_ALL: Final = frozenset(range(256))
_DIGIT: Final = frozenset(b"0123456789")
_WORD: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_SPACE: Final = frozenset(b"\t\n\f\r ")
_SETS: Final = {
    "d": _DIGIT, "D": _ALL - _DIGIT, "w": _WORD, "W": _ALL - _WORD, "s": _SPACE, "S": _ALL - _SPACE,
}  # fmt: skip
_CONTROLS: Final = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_SPECIAL: Final = frozenset(".[](){}*+?|^$\\")
_START, _DEAD = 0, 1

Bytes = frozenset[int]


class RegexError(ValueError):
    """The expression is no regular expression, or is outside of what selectors support; says where and why."""


@dataclass(frozen=True, slots=True)
class Automaton:
    """`classes` maps each byte to one of `width` classes; from state `s`, class `c` leads to `steps[s * width + c]`.

    State 0 is the start; from state 1 nothing matches any more. A value matches if its last byte leads to one of
    `accepting`.
    """

    classes: tuple[int, ...]
    width: int
    steps: tuple[int, ...]
    accepting: frozenset[int]

    def matches(self, value: bytes) -> bool:
        """Does the whole value match? The same steps as in `lua/gateway/match.lua`."""
        state = _START
        for byte in value:
            state = self.steps[state * self.width + self.classes[byte]]
        return state in self.accepting

    def as_json(self) -> dict[str, Any]:
        """As the Lua filter reads it: numbers below 256 as two hexadecimal digits each."""
        return {
            "classes": bytes(self.classes).hex(),
            "width": self.width,
            "steps": bytes(self.steps).hex(),
            "accepting": sorted(self.accepting),
        }


@lru_cache(maxsize=1_024)
def automaton(pattern: str) -> Automaton:
    """The automaton of `pattern`, matching whole values. Raises RegexError."""
    graph = _Graph()
    start, end = _Parser(pattern, graph).parse()
    classes, width = _byte_classes(graph)
    return _determine(pattern, graph, start, end, classes, width)


@dataclass(slots=True)
class _Graph:
    """A nondeterministic automaton: per node the nodes reached for nothing, and by a byte of a set."""

    free: list[list[int]] = field(default_factory=list)
    steps: list[tuple[Bytes, int] | None] = field(default_factory=list)

    def node(self) -> int:
        if len(self.free) >= 2 * MAX_PARTS:
            raise RegexError("the expression is too large: repeat less")
        self.free.append([])
        self.steps.append(None)
        return len(self.free) - 1


#: A part of the syntax: a set of bytes, a sequence, alternatives, or a repetition (most None: without end).
@dataclass(frozen=True, slots=True)
class _Repeat:
    part: _Part
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class _Sequence:
    parts: tuple[_Part, ...]


@dataclass(frozen=True, slots=True)
class _Either:
    parts: tuple[_Part, ...]


_Part = Bytes | _Repeat | _Sequence | _Either


class _Parser:
    """Recursive descent over the pattern; one use."""

    def __init__(self, pattern: str, graph: _Graph) -> None:
        self._text = pattern
        self._at = 0
        self._depth = 0
        self._graph = graph
        self._fold = False
        self._dot = _ALL - {10}

    def parse(self) -> tuple[int, int]:
        """Start and end node of the whole expression."""
        if not self._text.isascii():
            raise RegexError(f"in {self._text!r}: only ASCII characters are supported")
        self._flags()
        tree = self._either()
        if self._at < len(self._text):
            raise self._error("a ')' without its '('")
        return self._build(tree)

    def _error(self, why: str) -> RegexError:
        return RegexError(f"in {self._text!r}, at character {self._at + 1}: {why}")

    def _peek(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else ""

    def _take(self, text: str) -> bool:
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _flags(self) -> None:
        while self._text.startswith(("(?i)", "(?s)"), self._at):
            if self._text[self._at + 2] == "i":
                self._fold = True
            else:
                self._dot = _ALL
            self._at += 4

    def _either(self) -> _Part:
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else _Either(tuple(branches))

    def _sequence(self) -> _Part:
        parts: list[_Part] = []
        if self._depth == 0:
            self._take("^")
        while (character := self._peek()) not in ("", "|", ")"):
            if character == "$" and self._depth == 0 and self._text[self._at + 1 : self._at + 2] in ("", "|"):
                self._at += 1
                break
            parts.append(self._repeated())
        return _Sequence(tuple(parts))

    def _repeated(self) -> _Part:
        part = self._atom()
        bounds = self._bounds()
        if bounds is None:
            return part
        self._take("?")
        if self._peek() and self._peek() in "*+?{":
            raise self._error("a repetition of a repetition")
        return _Repeat(part, *bounds)

    def _bounds(self) -> tuple[int, int | None] | None:
        match self._peek():
            case "*":
                bounds: tuple[int, int | None] = (0, None)
            case "+":
                bounds = (1, None)
            case "?":
                bounds = (0, 1)
            case "{":
                return self._counted()
            case _:
                return None
        self._at += 1
        return bounds

    def _counted(self) -> tuple[int, int | None]:
        inner, brace, _ = self._text[self._at + 1 :].partition("}")
        low, comma, high = inner.partition(",")
        if not brace or not low.isdigit() or not (high == "" or high.isdigit()):
            raise self._error("'{' must begin {n}, {n,} or {n,m}; write \\{ for the character")
        least = int(low)
        most = (int(high) if high else None) if comma else least
        if max(least, most or 0) > 1000 or (most is not None and most < least):
            raise self._error(f"{{{inner}}} is no range of at most 1000")
        self._at += len(inner) + 2
        return least, most

    def _atom(self) -> _Part:
        character = self._peek()
        match character:
            case "(":
                return self._group()
            case "[":
                return self._class()
            case ".":
                self._at += 1
                return self._dot
            case "\\":
                return self._escaped()
            case "*" | "+" | "?" | "{":
                raise self._error(f"nothing to repeat before '{character}'")
            case "^" | "$":
                raise self._error(f"'{character}' is supported only at the ends of the expression")
            case _:
                self._at += 1
                return self._folded(frozenset((ord(character),)))

    def _group(self) -> _Part:
        self._at += 1
        if self._peek() == "?" and not self._take("?:"):
            raise self._error(
                "of the groups that begin with '(?', only (?:...) is supported, and (?i) at the beginning"
            )
        self._depth += 1
        if self._depth > 50:
            raise self._error("groups nested too deeply")
        part = self._either()
        if not self._take(")"):
            raise self._error("a '(' without its ')'")
        self._depth -= 1
        return part

    def _escaped(self) -> Bytes:
        """After a backslash: a set, or one byte."""
        character = self._text[self._at + 1 : self._at + 2]
        if character in _SETS and character:
            self._at += 2
            return _SETS[character]
        return self._folded(frozenset((self._escaped_byte(character),)))

    def _escaped_byte(self, character: str) -> int:
        if character in _CONTROLS and character:
            self._at += 2
            return _CONTROLS[character]
        if character == "x":
            digits = self._text[self._at + 2 : self._at + 4]
            if len(digits) != 2 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
                raise self._error("\\x needs two hexadecimal digits")
            self._at += 4
            return int(digits, 16)
        if not character or character.isalnum() or character == "_":
            raise self._error(f"the escape '\\{character}' is not supported")
        self._at += 2
        return ord(character)

    def _class(self) -> Bytes:
        start = self._at
        self._at += 1
        negated = self._take("^")
        members: set[int] = set()
        first = True
        while first or self._peek() != "]":
            first = False
            if not self._peek():
                self._at = start
                raise self._error("a '[' without its ']'")
            if self._text.startswith("[:", self._at):
                raise self._error("named classes ([:alpha:]) are not supported")
            members |= self._class_member()
        self._at += 1
        chosen = self._folded(frozenset(members))
        return _ALL - chosen if negated else chosen

    def _class_member(self) -> Bytes:
        low = self._class_item()
        following = self._text[self._at + 1 : self._at + 2]
        if self._peek() != "-" or following in ("]", ""):
            return low
        self._at += 1
        high = self._class_item()
        if len(low) != 1 or len(high) != 1 or min(high) < min(low):
            raise self._error("a range in a class must go from a lower to a higher character")
        return frozenset(range(min(low), min(high) + 1))

    def _class_item(self) -> Bytes:
        if self._peek() == "\\":
            character = self._text[self._at + 1 : self._at + 2]
            if character in _SETS and character:
                self._at += 2
                return _SETS[character]
            return frozenset((self._escaped_byte(character),))
        if not self._peek():
            raise self._error("a '[' without its ']'")
        self._at += 1
        return frozenset((ord(self._text[self._at - 1]),))

    def _folded(self, chosen: Bytes) -> Bytes:
        if not self._fold:
            return chosen
        swapped = (ord(chr(byte).swapcase()) for byte in chosen if byte < 128 and chr(byte).isalpha())
        return chosen | frozenset(swapped)

    def _build(self, part: _Part) -> tuple[int, int]:
        graph = self._graph
        start, end = graph.node(), graph.node()
        match part:
            case _Sequence(parts):
                last = start
                for each in parts:
                    first, after = self._build(each)
                    graph.free[last].append(first)
                    last = after
                graph.free[last].append(end)
            case _Either(parts):
                for each in parts:
                    first, after = self._build(each)
                    graph.free[start].append(first)
                    graph.free[after].append(end)
            case _Repeat():
                self._build_repeat(part, start, end)
            case _:
                graph.steps[start] = (part, end)
        return start, end

    def _build_repeat(self, repeat: _Repeat, start: int, end: int) -> None:
        free = self._graph.free
        last = start
        for _ in range(repeat.least):
            first, after = self._build(repeat.part)
            free[last].append(first)
            last = after
        if repeat.most is None:
            first, after = self._build(repeat.part)
            free[last].append(first)
            free[after].append(first)
            free[after].append(end)
        else:
            for _ in range(repeat.most - repeat.least):
                first, after = self._build(repeat.part)
                free[last].append(first)
                free[last].append(end)
                last = after
        free[last].append(end)


def _byte_classes(graph: _Graph) -> tuple[tuple[int, ...], int]:
    """Bytes that no set of the expression tells apart share a class."""
    sets = tuple({step[0] for step in graph.steps if step is not None})
    numbers: dict[tuple[bool, ...], int] = {}
    classes = tuple(numbers.setdefault(tuple(byte in each for each in sets), len(numbers)) for byte in range(256))
    return classes, len(numbers)


def _closure(graph: _Graph, nodes: Iterator[int]) -> frozenset[int]:
    reached: set[int] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            waiting.extend(graph.free[node])
    return frozenset(reached)


def _determine(pattern: str, graph: _Graph, start: int, end: int, classes: tuple[int, ...], width: int) -> Automaton:
    """Subset construction: each state is the set of nodes that the bytes so far can have led to."""
    sample = [classes.index(number) for number in range(width)]
    states = {_closure(graph, iter((start,))): _START, frozenset[int](): _DEAD}
    order = list(states)
    steps: list[int] = []
    for state in order:  # grows while it is walked
        for byte in sample:
            moves = (step[1] for node in state if (step := graph.steps[node]) is not None and byte in step[0])
            target = _closure(graph, moves)
            if target not in states:
                if len(states) >= MAX_STATES:
                    raise RegexError(f"in {pattern!r}: the expression needs more than {MAX_STATES} states; simplify it")
                states[target] = len(states)
                order.append(target)
            steps.append(states[target])
    accepting = frozenset(number for state, number in states.items() if end in state)
    return Automaton(classes, width, tuple(steps), accepting)
