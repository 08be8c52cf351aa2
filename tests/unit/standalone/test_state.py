"""The state directory: whose it is, who may use it, and that what is in it is whole."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from headgate.standalone.process import myself
from headgate.standalone.state import MAX_SOCKET_PATH, StateDirectory, StateProblem, default_directory


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_default_follows_xdg(tmp_path: Path) -> None:
    assert default_directory({"XDG_STATE_HOME": str(tmp_path)}) == tmp_path / "headgate" / "default"
    assert default_directory({}) == Path.home() / ".local" / "state" / "headgate" / "default"
    assert default_directory({"XDG_STATE_HOME": "relative"}) == default_directory({})


def test_it_is_the_owners_alone(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    state = StateDirectory(tmp_path / "state")
    state.prepare()
    state.write(state.status_file, {"a": 1})
    assert mode(state.root) == mode(state.gateways) == 0o700
    assert mode(state.status_file) == 0o600
    assert state.read(state.status_file) == {"a": 1}
    assert [p.name for p in state.root.iterdir() if p.name.startswith(".")] == []


def test_what_is_not_there_or_not_whole_is_nothing(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    assert state.read(state.status_file) is None
    state.status_file.write_text('{"a": ')
    assert state.read(state.status_file) is None


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.write(state.status_file, {"a": 1})
    with pytest.raises(TypeError):
        state.write(state.status_file, {"a": object()})
    assert json.loads(state.status_file.read_text()) == {"a": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_one_run_at_a_time_and_a_crash_lets_go(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.prepare()
    code = (
        "import sys, time; from pathlib import Path; from headgate.standalone.state import StateDirectory\n"
        "with StateDirectory(Path(sys.argv[1])).lock(): print('held', flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env=environment)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        state.write(state.run_file, {"process": {**myself().to_json(), "pid": holder.pid}})
        with pytest.raises(StateProblem) as raised, state.lock():
            pass
        assert str(raised.value) == (
            f"the state directory {tmp_path} is in use by process {holder.pid}: stop that run, or give this one its own "
            "--state-dir"
        )
    finally:
        holder.kill()
        holder.wait()
    with state.lock():
        pass


def test_a_directory_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateProblem, match=r"can't be used: .*: choose another --state-dir"):
        StateDirectory(tmp_path / "file" / "state").prepare()


def test_sockets_of_a_long_path_have_a_short_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="hg-") as short:
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        near, far = StateDirectory(Path(short)), StateDirectory(tmp_path / ("x" * 100))
        assert near.xds_socket.parent == Path(short)
        far.prepare()
        assert far.xds_socket.parent.parent == Path(short)
        assert mode(far.sockets) == 0o700
        for state in (near, far):
            for socket in (state.xds_socket, state.admin_socket("default/default")):
                assert len(os.fsencode(socket)) <= MAX_SOCKET_PATH
        assert StateDirectory(tmp_path / ("x" * 100)).xds_socket == far.xds_socket
        assert StateDirectory(tmp_path / ("y" * 100)).xds_socket != far.xds_socket


def test_gateways_do_not_share_files(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    assert state.gateway("a/b") != state.gateway("a/c")
    assert state.admin_socket("a/b") != state.admin_socket("a/c")
