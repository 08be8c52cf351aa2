"""Whatever way a folder changes, it is noticed; what does not belong to it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headgate.files.watch import Watch

LOOK = 0.15
#: The watch tells of its own start once more after this, for what came before it was in place.
SETTLED = 3 * LOOK


@asynccontextmanager
async def watching(watch: Watch) -> AsyncIterator[None]:
    """Running, and quiet after its start."""
    task = asyncio.create_task(watch.run())
    try:
        loop = asyncio.get_running_loop()
        quiet = loop.time() + SETTLED
        while (left := quiet - loop.time()) > 0:
            await noticed(watch, left)
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def noticed(watch: Watch, within: float = 10.0) -> bool:
    try:
        async with asyncio.timeout(within):
            await watch.changed()
    except TimeoutError:
        return False
    return True


def write(path: Path) -> None:
    path.write_text("new")


def replace(path: Path) -> None:
    """As editors save."""
    beside = path.with_name(f".{path.name}.swp")
    beside.write_text("new")
    beside.rename(path)


def remove(path: Path) -> None:
    path.unlink()


def below(path: Path) -> None:
    folder = path.parent / "new" / "folder"
    folder.mkdir(parents=True)
    (folder / "b.yaml").write_text("new")


def link(path: Path) -> None:
    fresh = path.parent / "..data_tmp"
    fresh.symlink_to("elsewhere")
    fresh.rename(path.parent / "..data")


@pytest.mark.parametrize("change", [write, replace, remove, below, link])
async def test_changes_in_a_folder(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "root" / "a.yaml"
    path.parent.mkdir()
    path.write_text("old")
    watch = Watch(path.parent, look=LOOK)
    async with watching(watch):
        change(path)
        assert await noticed(watch)


async def test_the_first_look_is_asked_for_at_once(tmp_path: Path) -> None:
    watch = Watch(tmp_path, look=LOOK)
    task = asyncio.create_task(watch.run())
    assert await noticed(watch)
    task.cancel()


async def test_the_state_directory_inside_is_none_of_its_business(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    watch = Watch(tmp_path, ignored=state, look=LOOK)
    async with watching(watch):
        (state / "status.json").write_text("x")
        assert not await noticed(watch, 0.5)
        (tmp_path / "a.yaml").write_text("x")
        assert await noticed(watch)


async def test_a_single_file(tmp_path: Path) -> None:
    path, neighbour = tmp_path / "a.yaml", tmp_path / "b.yaml"
    path.write_text("old")
    watch = Watch(path, look=LOOK)
    async with watching(watch):
        neighbour.write_text("new")
        assert not await noticed(watch, 0.5)
        replace(path)
        assert await noticed(watch)
        write(path)
        assert await noticed(watch)


async def test_a_file_elsewhere(tmp_path: Path) -> None:
    root, key = tmp_path / "root", tmp_path / "keys" / "key"
    root.mkdir()
    key.parent.mkdir()
    key.write_text("old")
    watch = Watch(root, [key], look=LOOK)
    async with watching(watch):
        replace(key)
        assert await noticed(watch)


async def test_a_root_that_is_a_link_to_another_folder_each_time(tmp_path: Path) -> None:
    one, two, root = tmp_path / "one", tmp_path / "two", tmp_path / "root"
    one.mkdir()
    two.mkdir()
    root.symlink_to(one)
    watch = Watch(root, look=LOOK)
    async with watching(watch):
        fresh = tmp_path / "fresh"
        fresh.symlink_to(two)
        fresh.rename(root)
        assert await noticed(watch)
        # From now on it is the new one that counts.
        loop = asyncio.get_running_loop()
        quiet = loop.time() + 2 * SETTLED
        while (left := quiet - loop.time()) > 0:
            await noticed(watch, left)
        (two / "a.yaml").write_text("new")
        assert await noticed(watch)


async def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    root = tmp_path / "not" / "yet"
    watch = Watch(root, look=LOOK)
    async with watching(watch):
        root.mkdir(parents=True)
        assert await noticed(watch)
        (root / "a.yaml").write_text("new")
        assert await noticed(watch)
