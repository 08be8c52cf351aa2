"""One process and no other."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from headgate.standalone.process import Handle, ProcessId, identify, myself

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


def start() -> subprocess.Popen[bytes]:
    child = subprocess.Popen(SLEEPER, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    return child


def test_myself_is_alive_and_survives_json() -> None:
    me = myself()
    assert me.pid == os.getpid()
    assert me.alive()
    assert ProcessId.from_json(me.to_json()) == me


@pytest.mark.parametrize("junk", [None, {}, {"pid": 1}, [], "x", {"pid": "x", "started": 1, "boot": "b"}])
def test_junk_is_no_process(junk: object) -> None:
    assert ProcessId.from_json(junk) is None


def test_the_same_id_with_another_start_or_boot_is_another_process() -> None:
    me = myself()
    assert not ProcessId(me.pid, me.started + 1, me.boot).alive()
    assert not ProcessId(me.pid, me.started, "another boot").alive()
    assert identify(2**22 + 1) is None


def test_a_name_with_parentheses_does_not_mislead() -> None:
    code = "import ctypes, time; ctypes.CDLL(None).prctl(15, b'a) Z (b'); print('up', flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        found = identify(child.pid)
        assert found is not None
        assert found.alive()
    finally:
        child.kill()
        child.wait()


def test_a_process_that_waits_to_be_reaped_is_not_alive() -> None:
    child = start()
    found = identify(child.pid)
    assert found is not None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not found.alive()
    child.wait()


async def test_a_child_is_waited_for_and_reaped() -> None:
    child = start()
    found = identify(child.pid)
    assert found is not None
    handle = Handle(found, child=True)
    handle.send(signal.SIGTERM)
    async with asyncio.timeout(10):
        assert await handle.wait() == "was ended by SIGTERM"
    assert not handle.running
    handle.send(signal.SIGTERM)
    handle.close()
    handle.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, 0)  # noqa: ASYNC222
    child.returncode = 0


async def test_somebody_elses_process_is_waited_for() -> None:
    child = start()
    found = identify(child.pid)
    assert found is not None
    handle = Handle(found, child=False)
    handle.send(signal.SIGKILL)
    async with asyncio.timeout(10):
        assert await handle.wait() == "ended"
    handle.close()
    child.wait()


async def test_a_process_that_has_gone_can_not_be_held() -> None:
    child = start()
    found = identify(child.pid)
    assert found is not None
    child.kill()
    child.wait()
    with pytest.raises(ProcessLookupError):
        Handle(found, child=False)
    me = myself()
    with pytest.raises(ProcessLookupError):
        Handle(ProcessId(me.pid, me.started + 1, me.boot), child=False)
