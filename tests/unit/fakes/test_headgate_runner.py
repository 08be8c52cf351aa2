"""The runner of `headgate run` waits for what it says, and notices what a run must not do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.headgate import Form, Headgate
from harness.processes import find

STANDIN = [sys.executable, str(Path(__file__).with_name("standin.py"))]


def upstream(word: str, kind: str = "UpstreamService", name: str = "up") -> str:
    return f"kind: {kind}\nmetadata: {{name: {name}}}\nspec: {{word: {word}}}\n"


def runner(root: Path, wrong: str = "", **options: Any) -> Headgate:
    return Headgate(root, command=STANDIN, environment={"STANDIN": wrong}, **options)


def test_a_run_from_start_to_stop(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "dns": "127.0.0.1:53",
        "secrets": {"default/up/key": "hunter2"},
        "files": {"a": upstream("one")},
    }
    with runner(tmp_path, **options) as headgate:
        assert "secret hunter2 default/up/key=env:HEADGATE_TEST_SECRET_0 127.0.0.1:53" in headgate.log()
        headgate.wait_ready("up")
        assert headgate.status()["up"]["spec"] == {"word": "one"}
        headgate.apply("b", upstream("x", "RetryPolicy", "policy"))
        headgate.wait_condition("RetryPolicy", "policy", "Accepted")
        headgate.delete("b")
        headgate.wait_gone("RetryPolicy", "policy")
        (envoy,) = headgate.envoys()
        assert envoy.alive()
        pid, state = headgate.pid, headgate.state
    assert not envoy.alive()
    assert not Path(f"/proc/{pid}").exists()
    assert not state.exists()


def test_a_condition_from_before_an_edit_does_not_count(tmp_path: Path) -> None:
    with runner(tmp_path, files={"a": upstream("one")}) as headgate:
        for word in ("two", "three"):
            headgate.apply("a", upstream(word))
            assert headgate.wait_condition("UpstreamService", "up", "Ready")["reason"] == word
        # The same once more is no change, so there is nothing to wait for.
        headgate.apply("a", upstream("three"))
        headgate.wait_condition("UpstreamService", "up", "Ready", reason="three", timeout=2)
        with pytest.raises(AssertionError, match=r"(?s)up is not Ready=True \(four\).*three.*ready"):
            headgate.wait_condition("UpstreamService", "up", "Ready", reason="four", timeout=0.2)
        with pytest.raises(AssertionError, match="there is no such object"):
            headgate.wait_condition("UpstreamService", "other", "Ready", timeout=0.2)


def test_calls_in_both_forms_and_as_written(tmp_path: Path) -> None:
    with runner(tmp_path) as headgate:
        own = f"127.0.0.1:{headgate.port}"
        assert headgate.call("up", "/v1?a=b").json() == ["/default/up/v1?a=b", own]
        assert headgate.call("up", "/v1", form=Form.HOST, namespace="team").json() == ["/v1", "up.team"]
        with headgate.stream("up", "/v1", form=Form.HOST) as answer:
            assert b"".join(answer.iter_bytes()) == b'["/v1", "up.default"]'
        assert headgate.raw(b"/a/../b//%2e", host="else.where").text == '["/a/../b//%2e", "else.where"]'
        assert headgate.url("up", "/x", form=Form.HOST) == f"http://up.default:{headgate.port}/x"


def test_a_crash_leaves_envoy_for_the_next_run(tmp_path: Path) -> None:
    with runner(tmp_path) as headgate:
        before = headgate.envoys()
        headgate.kill()
        assert headgate.envoys() == before
        assert all(envoy.alive() for envoy in before)
        headgate.start()
        assert headgate.envoys() == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("leaves", "Envoy outlived headgate"),
        ("exit code", "ended with exit code 4"),
        ("hangs", "still runs 1 s after SIGINT"),
    ],
)
def test_an_unclean_end_is_noticed_and_cleared_away(tmp_path: Path, wrong: str, message: str) -> None:
    headgate = runner(tmp_path, wrong)
    try:
        headgate.start()
        envoys = headgate.envoys()
        with pytest.raises(AssertionError, match=message):
            headgate.stop(timeout=1)
    finally:
        headgate.close()
    assert not any(envoy.alive() for envoy in envoys)


def test_a_run_that_ends_at_once_is_told_with_its_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(AssertionError, match=r"ended with exit code 3(?s:.*)cannot start: told so"),
        runner(tmp_path, "fails"),
    ):
        pass
    assert "cannot start: told so" in capsys.readouterr().out
    headgate = runner(tmp_path, "fails")
    assert headgate.start(wait=False).wait_exit() == 3
    headgate.close()


def test_a_run_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="was not logged within 1"),
        runner(tmp_path, "unready", startup_timeout=1.0) as headgate,
    ):
        pass
    assert "headgate" not in locals()


def test_a_failing_test_ends_everything_and_shows_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pids: list[int] = []

    def test() -> None:
        with runner(tmp_path) as headgate:
            pids.extend([headgate.pid, *(envoy.pid for envoy in headgate.envoys())])
            raise RuntimeError("the test's own failure")

    with pytest.raises(RuntimeError):
        test()
    assert len(pids) == 2
    assert [find(pid) for pid in pids] == [None, None]
    assert "ready" in capsys.readouterr().out
