"""`headgate run` when its state directory is in trouble: damaged, or not to be written to."""

import os
import sys
from pathlib import Path

import pytest

from harness.headgate import Headgate
from harness.space import GATEWAY
from harness.standalone import answering, envoy, upstream
from headgate.simulate.behaviours import respond
from headgate.simulate.server import FakeServer


def test_changes_are_served_while_the_state_can_not_be_written(runner: Headgate, provider: FakeServer) -> None:
    provider.default(respond(200))
    runner.start()
    runner.wait_ready("one")
    status = runner.state / "status.json"
    status.unlink()
    status.mkdir()
    for name in ("two", "three"):
        runner.apply(name, upstream(name, provider.port))
        answering(runner, name, 200)
    runner.wait_log(r"run\.state_not_written")
    status.rmdir()
    runner.apply("four", upstream("four", provider.port))
    runner.wait_ready("one", "two", "three", "four")
    assert runner.log().count("run.state_not_written") == 1, "once, and not at each try"


def test_a_state_directory_that_is_removed_under_a_run(runner: Headgate, provider: FakeServer) -> None:
    provider.default(respond(200))
    runner.start()
    before = envoy(runner)
    for path in (runner.state / "status.json", runner.state / "objects.json", runner.state / "pki" / "authority.pem"):
        path.unlink()
    runner.state.rename(moved := runner.state.with_name(f"{runner.state.name}-moved"))
    try:
        runner.apply("two", upstream("two", provider.port))
        answering(runner, "two", 200)
        assert runner.running
        assert before.alive()
    finally:
        moved.rename(runner.state)


@pytest.mark.parametrize("content", ["", '{"objects": 5}', '{"objects": [1, {"kind": {}}]}', "[1, 2]", "[" * 200_000])
def test_damaged_files_are_as_good_as_none(runner: Headgate, provider: FakeServer, content: str) -> None:
    provider.default(respond(200))
    for name in ("status.json", "objects.json", "run.json"):
        (runner.state / name).write_text(content)
    runner.start()
    runner.wait_ready("one")
    assert runner.call("one").status_code == 200


@pytest.mark.parametrize("keep", [0, 100, 500])
def test_a_damaged_authority_is_replaced_and_envoy_taken_over(
    runner: Headgate, provider: FakeServer, keep: int
) -> None:
    provider.default(respond(200))
    runner.start()
    before = envoy(runner)
    runner.kill()
    os.truncate(runner.state / "pki" / "authority.pem", keep)
    runner.start()
    assert envoy(runner) == before
    runner.wait_log("note: the certificates in .*/pki are damaged: new ones are made")
    runner.apply("two", upstream("two", provider.port))
    runner.wait_ready("one", "two")
    assert runner.call("two").status_code == 200


def test_a_log_on_a_full_disk_does_not_end_the_run(provider: FakeServer, tmp_path: Path) -> None:
    provider.default(respond(200))
    full = "import sys; sys.stdout = open('/dev/full', 'w'); from headgate.cli import main; main()"
    headgate = Headgate(tmp_path, files={"gateway": GATEWAY}, command=[sys.executable, "-c", full])
    try:
        headgate.start(wait=False)
        headgate.apply("one", upstream("one", provider.port))
        headgate.wait_ready("one")
        headgate.apply("two", upstream("two", provider.port))
        headgate.wait_ready("two")
        assert headgate.call("two").status_code == 200
        headgate.stop()
    finally:
        headgate.close()


def test_a_damaged_status_is_said_by_get(runner: Headgate) -> None:
    (runner.state / "status.json").write_text('{"objects": [1]}')
    done = runner.cli("get", "upstreams", "--state-dir", str(runner.state), check=False)
    assert (done.returncode, done.stderr) == (
        1,
        f"headgate: {runner.state}/status.json is damaged: `headgate run` writes it anew\n",
    )
