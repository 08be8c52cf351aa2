"""Tells that something in a folder may have changed: events of the file system, gathered over a moment.

Robust against editors (they write beside and rename), mounted ConfigMaps (links are swapped), and a folder that goes and
comes back. Which file it was is not told: whoever reads compares contents anyway. One task uses it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from watchfiles import Change, awatch

_log = structlog.stdlib.get_logger("headgate.files")
#: Milliseconds of quiet after which what was gathered is told, and the longest that gathering may take.
_STEP, _DEBOUNCE = 20, 200


class Watch:
    """`root`, all below it but what is under `ignored`, and single `files` elsewhere.

    Every `look` seconds it is made sure that the folders are still the ones that are watched.
    """

    def __init__(
        self, root: Path, files: Sequence[Path] = (), ignored: Path | None = None, *, look: float = 1.0
    ) -> None:
        self._root = root.absolute()
        self._files = tuple(file.absolute() for file in files)
        self._ignored = None if ignored is None else str(ignored.absolute())
        self._look = look
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Watch, for as long as this is not cancelled."""
        # The links to the root and to the files are swapped in the folders around them.
        around = {path.parent for path in (self._root, *self._files)}
        async with asyncio.TaskGroup() as group:
            for folder in around:
                group.create_task(self._follow(folder, self._is_watched, recursive=False))
            if not self._root.is_file():
                group.create_task(self._follow(self._root, self._counts, recursive=True))

    async def changed(self) -> None:
        """Wait until something may have changed since the last time that this was asked."""
        await self._changed.wait()
        self._changed.clear()

    def _is_watched(self, _change: Change, path: str) -> bool:
        found = Path(path)
        # `..data` and the like: a link that a watched file may lead through.
        return found == self._root or found in self._files or found.name.startswith("..")

    def _counts(self, _change: Change, path: str) -> bool:
        return self._ignored is None or not (path == self._ignored or path.startswith(f"{self._ignored}/"))

    async def _follow(self, folder: Path, picks: Callable[[Change, str], bool], *, recursive: bool) -> None:
        polling = False
        while True:
            identity = _identity(folder)
            if identity is None:
                await asyncio.sleep(self._look)
                continue
            self._changed.set()
            try:
                events = awatch(
                    folder,
                    watch_filter=picks,
                    debounce=_DEBOUNCE,
                    step=_STEP,
                    recursive=recursive,
                    force_polling=polling,
                    rust_timeout=int(self._look * 1000),
                    yield_on_timeout=True,
                )
                first = True
                async with contextlib.aclosing(events):
                    async for found in events:
                        # The first time even without an event: it may have come before the watch was in place.
                        if found or first:
                            self._changed.set()
                        first = False
                        if _identity(folder) != identity:
                            self._changed.set()
                            break
            except (OSError, RuntimeError) as error:
                if _identity(folder) == identity and not polling:
                    _log.warning("files.polling", folder=str(folder), error=str(error))
                    polling = True
                await asyncio.sleep(self._look)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Which directory this is, links followed; None if there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino)
