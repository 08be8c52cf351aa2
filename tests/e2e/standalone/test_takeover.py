"""Crashes of either side, and ends: what keeps serving, what is taken over, and that nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from harness.headgate import Headgate
from harness.load import Load, Request
from harness.ports import free_port
from harness.processes import mentioning, wait_gone
from harness.standalone import envoy, position, upstream
from headgate.simulate.behaviours import Gate, respond
from headgate.simulate.server import FakeServer


def test_a_crash_of_headgate_is_noticed_by_no_caller_and_the_next_run_takes_over(
    runner: Headgate, provider: FakeServer
) -> None:
    runner.start()
    before = envoy(runner)
    with FakeServer() as other:
        other.default(respond(200, "the other"))
        with Load([Request(runner.address, "/default/one/x")], rate=50, seconds=60) as load:
            runner.kill()
            assert envoy(runner) == before
            assert runner.call("one").status_code == 200
            # What changes while nobody looks is in force after the next start.
            runner.apply("two", upstream("two", other.port))
            offset = position(runner)
            runner.start()
            runner.wait_log(rf"still runs \(process {before.pid}\): taken over", offset=offset)
            assert envoy(runner) == before
            assert runner.call("two").text == "the other"
            # And later edits take the same way.
            runner.apply("three", upstream("three", other.port))
            runner.wait_ready("one", "two", "three")
            assert runner.call("three").text == "the other"
            runner.delete("two")
            runner.wait_gone("UpstreamService", "two")
            report = load.stop()
    assert len(report.samples) > 50
    assert not report.failures(), str(report)
    assert envoy(runner) == before
    runner.stop()


def test_an_envoy_that_was_about_to_end_is_not_taken_over(runner: Headgate, provider: FakeServer) -> None:
    """It listens no more, and nothing makes it listen again. So a service manager leaves it that loses its patience."""
    runner.start()
    before, offset = envoy(runner), position(runner)
    gate = Gate(respond(200))
    provider.default(gate)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(runner.call, "one")
        gate.wait_held(1)
        os.kill(runner.pid, signal.SIGTERM)
        runner.wait_log("stopping: calls in flight may finish", offset=offset)
        _refused(runner)
        runner.kill()
        assert before.alive()
        runner.start(wait=False)
        runner.wait_log(rf"\(process {before.pid}\) was about to end: replaced", offset=offset)
        gate.open()
        assert call.result(20).status_code == 200, "what was in flight has finished"
    _eventually(runner, 200)
    assert envoy(runner) != before


def test_a_breaker_that_is_open_stays_open_over_a_takeover(runner: Headgate, provider: FakeServer) -> None:
    breaker = (
        "apiVersion: headgate.dev/v1alpha1\nkind: CircuitBreaker\nmetadata: {name: cut}\nspec:\n"
        "  targetRefs: [{kind: UpstreamService, name: one}]\n  consecutiveFailures: 2\n  breakDuration: 60s\n"
    )
    runner.apply("cut", breaker)
    runner.start()
    runner.wait_ready("one")
    provider.default(respond(500))
    assert [runner.call("one").status_code for _ in range(3)] == [500, 500, 503]
    runner.wait_object("UpstreamService", "one", lambda found: found["status"].get("circuit") == "Open 1/1")
    runner.kill()
    runner.start()
    sent = len(provider.requests)
    assert runner.call("one").status_code == 503
    assert len(provider.requests) == sent


def test_a_crash_of_envoy_is_told_and_repaired(runner: Headgate) -> None:
    runner.start()
    before, offset = envoy(runner), position(runner)
    before.kill()
    runner.wait_log(r"Envoy of gateway platform/shared was ended by SIGKILL; its last words:", offset=offset)
    runner.wait_log(r"Envoy of gateway platform/shared is started again in 0\.25 s", offset=offset)
    assert wait_gone((before,)) == ()
    # The new one has everything: nobody has to say it again.
    runner.wait_condition("UpstreamService", "one", "Programmed", timeout=30)
    answer = _eventually(runner, 200)
    assert answer.status_code == 200
    assert envoy(runner) != before


def test_an_envoy_that_was_taken_over_is_repaired_too(runner: Headgate) -> None:
    runner.start()
    runner.kill()
    runner.start()
    before, offset = envoy(runner), position(runner)
    before.kill()
    runner.wait_log(r"is started again in", offset=offset)
    assert _eventually(runner, 200).status_code == 200
    assert envoy(runner) != before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_end_lets_calls_in_flight_finish_and_leaves_nothing(
    runner: Headgate, provider: FakeServer, number: signal.Signals
) -> None:
    runner.start()
    gate = Gate(respond(200, "finished"))
    provider.default(gate)
    answers: list[str] = []
    caller = threading.Thread(target=lambda: answers.append(runner.call("one").text))
    caller.start()
    gate.wait_held(1)
    left = runner.envoys()
    offset = position(runner)
    os.kill(runner.pid, number)
    runner.wait_log("stopping: calls in flight may finish", offset=offset)
    _refused(runner)
    assert all(process.alive() for process in left)
    gate.open()
    caller.join(10)
    assert answers == ["finished"]
    assert runner.wait_exit() == 0
    assert wait_gone(left) == ()
    assert runner.log().rstrip().endswith("stopped")
    assert list(runner.state.glob("*.sock")) == []


def test_a_second_signal_waits_for_nobody(runner: Headgate, provider: FakeServer) -> None:
    runner.start()
    gate = Gate()
    provider.default(gate)
    caller = threading.Thread(target=lambda: _ignore_errors(runner))
    caller.start()
    gate.wait_held(1)
    left, offset = runner.envoys(), position(runner)
    os.kill(runner.pid, signal.SIGINT)
    runner.wait_log("stopping", offset=offset)
    os.kill(runner.pid, signal.SIGINT)
    assert runner.wait_exit(5) == 0
    assert wait_gone(left) == ()
    gate.open()
    caller.join(10)


def test_one_run_per_state_directory(runner: Headgate) -> None:
    runner.start()
    second = runner.cli(
        "run", "-f", str(runner.folder), "--listen", f"127.0.0.1:{free_port()}", "--state-dir", str(runner.state),
        check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert second.stderr == (
        f"headgate: the state directory {runner.state} is in use by process {runner.pid}: stop that run, or give this "
        "one its own --state-dir\n"
    )
    assert runner.call("one").status_code == 200


def test_a_taken_port_is_one_clear_sentence(runner: Headgate) -> None:
    with socket.create_server(runner.address):
        runner.start(wait=False)
        assert runner.wait_exit() == 1
    assert (
        runner.log()
        .rstrip()
        .endswith(
            f"headgate: can't listen on 127.0.0.1:{runner.port}: address already in use: stop what listens there, or choose "
            "another address (--listen, or the gateway's spec.listener)"
        )
    )
    assert runner.envoys() == ()


def test_another_bootstrap_replaces_the_envoy(runner: Headgate, tmp_path: Path) -> None:
    runner.start()
    before = envoy(runner)
    runner.kill()
    runner._arguments += ["--dns-resolver", f"127.0.0.1:{free_port()}"]
    offset = position(runner)
    runner.start()
    runner.wait_log("was started otherwise than is now asked for: replaced", offset=offset)
    assert not before.alive()
    assert envoy(runner) != before
    assert runner.call("one").status_code == 200


def test_another_address_is_taken_over_too(runner: Headgate) -> None:
    runner.start()
    before, old = envoy(runner), runner.port
    runner.kill()
    runner.port = free_port()
    runner.start()
    assert envoy(runner) == before
    assert _eventually(runner, 200).status_code == 200
    runner.port, new = old, runner.port
    _refused(runner)
    runner.port = new


def test_a_gateway_that_is_gone_at_the_next_start_has_no_envoy_left(runner: Headgate, provider: FakeServer) -> None:
    second = (
        "apiVersion: headgate.dev/v1alpha1\nkind: IntegrationGateway\nmetadata: {name: second}\nspec:\n"
        f"  listener: {{port: {free_port()}}}\n"
    )
    runner.apply("second", second)
    runner.start()
    assert len(runner.envoys()) == 2
    runner.kill()
    runner.delete("second")
    offset = position(runner)
    runner.start()
    runner.wait_log(r"gateway default/second is gone, and its Envoy \(process \d+\) ended", offset=offset)
    assert len(runner.envoys()) == 1
    assert runner.call("one").status_code == 200


@pytest.mark.parametrize("text", ["a: b: c\n", "broken"], ids=["syntax", "object"])
def test_what_was_live_is_served_after_a_restart_though_its_file_is_broken(
    runner: Headgate, provider: FakeServer, text: str
) -> None:
    runner.start()
    runner.wait_ready("one")
    runner.stop()
    runner.apply("one", text if text != "broken" else upstream("one", provider.port, "prot: x"))
    runner.start()
    assert "error: one.yaml:" in runner.log()
    assert runner.call("one").status_code == 200
    # Only once: a mended file counts again.
    with FakeServer() as other:
        other.default(respond(200, "mended"))
        runner.apply("one", upstream("one", other.port))
        runner.wait_log(r"UpstreamService default/one: in force")
        assert runner.call("one").text == "mended"


def test_a_headgate_that_can_not_start_leaves_no_process(tmp_path: Path) -> None:
    runner = Headgate(tmp_path, arguments=["--secret", "default/a/b=env:HEADGATE_NOT_SET"])
    try:
        runner.start(wait=False)
        assert runner.wait_exit() == 1
        assert (
            runner.log()
            .rstrip()
            .endswith(
                "headgate: --secret default/a/b: the environment variable is not set: export it, and write its name after env: "
                "without $"
            )
        )
        assert mentioning(f"{runner.state}/") == ()
    finally:
        runner.close()


def _eventually(runner: Headgate, status: int) -> httpx.Response:
    """Call until the listener is there and answers so; the harness's waits bound it."""
    answer: list[httpx.Response] = []

    def answers(_found: object) -> bool:
        try:
            answer[:] = [runner.call("one")]
        except httpx.TransportError:
            return False
        return answer[0].status_code == status

    runner.wait_object("UpstreamService", "one", answers, f"answering {status}")
    return answer[0]


def _refused(runner: Headgate) -> None:
    def refused(_found: object) -> bool:
        try:
            socket.create_connection(runner.address, timeout=1).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False  # a connection taken just before the listener closed is reset: it has not refused one yet
        return False

    runner.wait_object("UpstreamService", "one", refused, "refusing connections")


def _ignore_errors(runner: Headgate) -> None:
    try:
        runner.call("one")
    except httpx.TransportError:
        return
