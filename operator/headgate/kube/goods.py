"""Last good versions in the cluster: what keeps a bad edit harmless when every replica of the operator restarts.

The replica that leads keeps them in ConfigMaps of the operator's own namespace; each replica reads these once, before the
first listing is put into the Store. They hold what was declared, and no Secret. Objects are spread over SHARDS ConfigMaps, so
that one edit among ten thousand rewrites a few kilobytes:

    binaryData:
      objects: gzip of lines, `kind TAB namespace TAB name TAB revision TAB the object as JSON`

A revision is made of what the API server says (uid, generation, labels), so it is the same on every replica and after a
restart; comparing it is all that is done for an object that is declared as it was. What can't be read is logged and passed
over, line by line: then there is no last good version of that object.

One event loop; compression and JSON go to a thread. `recall` on every replica at its start, `proven` after each compile,
`run` while leading, `follow` for as long as the process lives.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import random
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic import ValidationError

from headgate.api.base import GROUP
from headgate.api.kinds import KINDS
from headgate.kube.client import Api, ApiProblem, Document, Refused
from headgate.kube.counts import WriteCounts
from headgate.kube.elector import ONCE_MORE, Leadership, NotLeading
from headgate.kube.pace import Pace
from headgate.kube.reading import Seen
from headgate.kube.resources import CONFIG_MAPS
from headgate.model.refs import ObjectRef
from headgate.store import Good, Store

_log = structlog.stdlib.get_logger("headgate.kube")
NAME = "headgate-last-good"
#: Not the label of gateways' objects, which are removed where nothing wants them.
LABEL, VALUE = f"{GROUP}/holds", "last-good"
KEY = "objects"
#: More of them later would be other places for the same objects: they are found wherever they are.
SHARDS = 64
#: Bytes of a ConfigMap that are filled, of the 1 MiB that it may have; and bytes that one may unpack to.
ROOM, UNPACKED = 1_000_000, 1 << 26
#: Seconds from one writing to the next, at least.
REST = 1.0
_GZIP = 31
_TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class Line:
    """One object's last good version. `text`: the whole line, with its revision."""

    ref: ObjectRef
    revision: str
    text: bytes

    @property
    def body(self) -> Any:
        """The object. ValueError if it is none."""
        return json.loads(self.text.split(b"\t", 4)[4])


Lines = dict[ObjectRef, Line]


@dataclass(slots=True)
class _Refused:
    """A ConfigMap that the API server did not take: when it is tried again, on the event loop's clock."""

    pace: Pace = field(default_factory=Pace)
    until: float = 0.0


def line(good: Good) -> Line:
    """An object's."""
    ref, body = good.ref, good.version.model_dump_json(by_alias=True, exclude_unset=True)
    return Line(ref, good.revision, f"{ref.kind}\t{ref.namespace}\t{ref.name}\t{good.revision}\t{body}".encode())


def good_of(found: Line) -> Good:
    """The reverse. ValueError if it can't be read."""
    body = found.body
    if not isinstance(body, dict):
        raise ValueError("not an object")
    return Good(found.ref, found.revision, KINDS[found.ref.kind].read(body))


def pack(lines: Iterable[Line]) -> bytes:
    """Lines as bytes, the same ones for the same lines."""
    packer = zlib.compressobj(wbits=_GZIP)
    text = b"".join(each.text + b"\n" for each in sorted(lines, key=lambda each: each.ref))
    return packer.compress(text) + packer.flush()


def unpack(packed: bytes) -> Lines:
    """The reverse. ValueError if it is nothing of the kind; a line that is none is left out."""
    unpacker = zlib.decompressobj(wbits=_GZIP)
    try:
        text = unpacker.decompress(packed, UNPACKED)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacker.eof:
        raise ValueError("it is cut off, or far too long")
    found: Lines = {}
    for each in text.split(b"\n"):
        parts = each.split(b"\t", 4)
        if len(parts) == 5:
            kind, namespace, name, revision = (part.decode(errors="replace") for part in parts[:4])
            if kind in KINDS:
                ref = ObjectRef(kind, namespace, name)
                found[ref] = Line(ref, revision, each)
    return found


def shard_of(ref: ObjectRef) -> int:
    """Where an object is kept; the same in every process."""
    return zlib.crc32(f"{ref.kind}/{ref.key}".encode()) % SHARDS


class Goods:
    """Keeps the last good versions of what is in `store`, in `namespace`. `period`: seconds between two looks at what the
    replica that leads has kept, at least and at most."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        store: Store,
        period: tuple[float, float] = (60.0, 300.0),
        rest: float = REST,
    ) -> None:
        self._period, self._leading = period, False
        self._api, self._namespace, self._store, self._rest = api, namespace, store, rest
        #: What the ConfigMaps hold, packed, while this replica leads: a megabyte for ten thousand objects.
        self._packed: dict[int, bytes] = {}
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self.counts = WriteCounts()

    def proven(self) -> None:
        """The Store may have other last good versions than before."""
        self._more.set()

    async def idle(self) -> None:
        """Wait until all is written that is to be, but for what was refused and waits to be tried again."""
        await self._idle.wait()

    async def recall(self, seen: Callable[[ObjectRef], Seen | None]) -> list[Good]:
        """What was good of those objects that are declared otherwise now. `seen` gives what is declared. Raises ApiProblem
        where waiting may help."""
        try:
            shards = (await self._read()).values()
        except ApiProblem as problem:
            if problem.temporary:
                raise
            _log.warning("kube.last_good_not_read", error=str(problem), until_then="a bad edit is not made up for")
            return []
        return await asyncio.to_thread(lambda: [good for each in shards for good in _recalled(each, seen)])

    async def run(self, leadership: Leadership) -> None:
        """While this replica leads: first what differs from what is there, then what changes."""
        self._leading = True
        try:
            await self._keep(leadership)
        finally:
            self._leading = False

    async def _keep(self, leadership: Leadership) -> None:
        pace, known = Pace(), False
        changed: set[ObjectRef] = set()
        refused: dict[int, _Refused] = {}
        self._idle.clear()
        while True:
            self._more.clear()
            try:
                if not known:
                    changed |= await self._compared()
                    known = True
                changed |= self._store.changed_goods()
                await self._write_all(changed, refused, leadership)
            except ApiProblem as problem:
                self.counts.failures += 1
                wait = pace.wait(problem)
                _log.warning("kube.last_good_not_written", error=str(problem), again_in=round(wait, 1))
                await asyncio.sleep(wait)
                continue
            except NotLeading:
                await asyncio.sleep(ONCE_MORE)
                continue
            pace.reset()
            if not self._more.is_set():
                self._idle.set()
            await asyncio.sleep(self._rest)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min((each.until for each in refused.values()), default=None)):
                    await self._more.wait()
            self._idle.clear()

    async def _write_all(self, changed: set[ObjectRef], refused: dict[int, _Refused], leadership: Leadership) -> None:
        """What is written is taken out of `changed`. A shard that the API server does not take keeps none of the others from
        being written."""
        now = asyncio.get_running_loop().time
        for shard, refs in sorted(_by_shard(changed).items()):
            if shard in refused and refused[shard].until > now():
                continue
            try:
                await self._write(shard, refs, leadership)
            except Refused as problem:
                if problem.status == _TOO_MANY:
                    raise  # it is about all of them
                self.counts.failures += 1
                known = refused.setdefault(shard, _Refused())
                wait = known.pace.wait(problem)
                known.until = now() + wait
                _log.warning(
                    "kube.last_good_not_written", error=str(problem), shard=_name(shard), again_in=round(wait, 1)
                )
            else:
                changed -= refs
                refused.pop(shard, None)

    async def follow(self) -> None:
        """While another replica leads: what it has seen go by and this one has not, of objects that are not as they should
        be. So all replicas serve the same. Until cancelled."""
        while True:
            await asyncio.sleep(random.uniform(*self._period))  # noqa: S311 - jitter
            if self._leading:
                continue
            try:
                shards = await self._read()
            except ApiProblem as problem:
                _log.warning("kube.last_good_not_read", error=str(problem))
                continue
            for packed in shards.values():
                self._learn(await asyncio.to_thread(_lines, packed))

    def _learn(self, lines: Lines) -> None:
        for ref, found in lines.items() if not self._leading else ():
            good = self._store.good(ref)
            if good is None or good.revision != found.revision:
                self._adopted(good, found)

    async def _read(self) -> dict[str, bytes]:
        """All ConfigMaps' content, by name."""
        found: dict[str, bytes] = {}
        async for page in self._api.pages(CONFIG_MAPS, self._namespace, labels=f"{LABEL}={VALUE}"):
            found.update((each["metadata"]["name"], _content(each)) for each in page.items)
        return found

    async def _compared(self) -> set[ObjectRef]:
        """What this replica has otherwise than the ConfigMaps. Of an object that is not as it should be, the leader before
        may have seen a later good version go by: that one counts."""
        there = await self._read()
        self._packed = {shard: there[_name(shard)] for shard in range(SHARDS) if _name(shard) in there}
        differing = set()
        goods = {good.ref: good for good in self._store.good_objects()}
        self._store.changed_goods()
        for shard in range(SHARDS):
            lines = await asyncio.to_thread(_lines, self._packed.get(shard, b""))
            for ref, found in lines.items():
                good = goods.pop(ref, None)
                if (good is None or good.revision != found.revision) and not self._adopted(good, found):
                    differing.add(ref)
        return differing | goods.keys()

    def _adopted(self, good: Good | None, found: Line) -> bool:
        if good is not None and not _later(found.revision, good.revision):
            return False
        try:
            return self._store.adopt(good_of(found))
        except ValueError:
            return False

    async def _write(self, shard: int, refs: set[ObjectRef], leadership: Leadership) -> None:
        goods = {ref: self._store.good(ref) for ref in refs}
        before = self._packed.get(shard, b"")
        after = await asyncio.to_thread(_changed, before, goods)
        if after is None:
            return
        document: Document = {
            "apiVersion": CONFIG_MAPS.api_version,
            "kind": CONFIG_MAPS.kind,
            "metadata": {
                "name": _name(shard),
                "namespace": self._namespace,
                "labels": {LABEL: VALUE, "app.kubernetes.io/part-of": "headgate"},
            },
            "binaryData": {KEY: base64.b64encode(after).decode()},
        }
        async with leadership.write():
            await self._api.apply(CONFIG_MAPS, document)
        self.counts.writes += 1
        self._packed[shard] = after


def _name(shard: int) -> str:
    return f"{NAME}-{shard:02}"


def _content(document: Document) -> bytes:
    try:
        return base64.b64decode(document["binaryData"][KEY], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        return b"?"


def _lines(packed: bytes) -> Lines:
    """What a ConfigMap holds; nothing if that can't be read."""
    if not packed:
        return {}
    try:
        return unpack(packed)
    except ValueError as error:
        _log.warning("kube.last_good_unreadable", error=str(error))
        return {}


def _recalled(packed: bytes, seen: Callable[[ObjectRef], Seen | None]) -> Iterable[Good]:
    for ref, found in _lines(packed).items():
        now = seen(ref)
        if now is None or now.put.revision == found.revision:
            continue
        try:
            good = good_of(found)
        except (ValueError, ValidationError) as error:
            _log.warning("kube.last_good_unreadable", ref=str(ref), error=type(error).__name__)
            continue
        # One that was deleted and made anew begins anew.
        if good.version.metadata.uid == now.uid and (good.version.metadata.name, good.version.metadata.namespace) == (
            ref.name,
            ref.namespace,
        ):
            yield good


def _changed(packed: bytes, goods: Mapping[ObjectRef, Good | None]) -> bytes | None:
    """The shard with these, or without those that are None; None if it is the same."""
    lines = _lines(packed)
    same = bool(packed) and (bool(lines) or packed == pack(()))
    for ref, good in goods.items():
        there = lines.get(ref)
        if good is None:
            same = lines.pop(ref, None) is None and same
        elif there is None or there.revision != good.revision:
            lines[ref] = line(good)
            same = False
    if same or (not packed and not lines):
        return None
    return _fitting(lines)


def _fitting(lines: Lines) -> bytes:
    """Packed; without the longest where a ConfigMap would be too small for all."""
    left = sorted(lines.values(), key=lambda each: len(each.text))
    while len(packed := pack(left)) > ROOM:
        cut = max(1, len(left) // 10)
        for each in left[-cut:]:
            _log.warning("kube.last_good_not_kept", ref=str(each.ref), bytes=len(each.text), why="no room for it")
        del left[-cut:]
    return packed


def _by_shard(refs: Iterable[ObjectRef]) -> dict[int, set[ObjectRef]]:
    found: dict[int, set[ObjectRef]] = {}
    for ref in refs:
        found.setdefault(shard_of(ref), set()).add(ref)
    return found


def _later(one: str, other: str) -> bool:
    """Whether a revision is of a later generation."""
    first, second = one.partition("-")[0], other.partition("-")[0]
    return first.isdecimal() and second.isdecimal() and int(first) > int(second)
