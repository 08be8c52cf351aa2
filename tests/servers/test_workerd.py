"""Streams and bodies from workerd through the gateway: what holds for the simulated providers holds for a server that
shares no code with them (`harness.workerd` says why that matters)."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from google import genai
from google.genai import types

from harness.headgate import Headgate
from harness.standalone import upstream
from harness.workerd import Workerd

GATEWAY = """
apiVersion: headgate.dev/v1alpha1
kind: IntegrationGateway
metadata: {name: default, namespace: default}
spec:
  default: true
  egress: {allowedCIDRs: [127.0.0.0/8]}
"""

GEMINI = """
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {{name: gemini, namespace: default}}
spec:
  provider: gemini
  hostname: 127.0.0.1
  port: {port}
  tls: {{mode: None}}
  credentials:
  - name: key
    secretRef: {{name: gemini, key: key}}
"""


@pytest.fixture(scope="module")
def workerd() -> Iterator[Workerd]:
    with Workerd() as running:
        yield running


@pytest.fixture(scope="module")
def headgate(workerd: Workerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    files = {
        "gateway": GATEWAY,
        "origin": upstream("origin", workerd.port),
        "gemini": GEMINI.format(port=workerd.port),
    }
    secrets = {"default/gemini/key": "the-key"}
    with Headgate(tmp_path_factory.mktemp("workerd"), secrets=secrets, files=files) as running:
        running.wait_ready("origin", "gemini")
        yield running


@pytest.fixture
def stream(request: pytest.FixtureRequest) -> str:
    """A stream of this test's own."""
    return str(request.node.name).replace("_", "-")


def letters(count: int, size: int) -> bytes:
    return b"".join(bytes([97 + number % 26]) * size for number in range(count))


def event(text: str) -> str:
    part = {"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}}]}
    return f"data: {json.dumps(part)}\r\n\r\n"


def wait(condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not {what} after {timeout} s"
        time.sleep(0.01)


def test_googles_client_gets_each_event_as_it_is_sent(headgate: Headgate, workerd: Workerd, stream: str) -> None:
    options = types.HttpOptions(base_url=headgate.url("gemini"))
    with genai.Client(api_key="unused", http_options=options) as client, ThreadPoolExecutor(1) as pool:
        chunks = iter(client.models.generate_content_stream(model=stream, contents="go"))
        for number in range(5):
            received = pool.submit(next, chunks)
            if number == 0:
                workerd.wait_opened(stream)
            # Only now, so that what arrives can't have waited for what follows it.
            assert not received.done()
            workerd.push(stream, event(f"part {number}"))
            assert received.result(10).text == f"part {number}"
        workerd.finish(stream)
        assert list(chunks) == []
    assert workerd.opened(stream) == 1


def test_a_stream_is_passed_on_byte_for_byte_and_at_once(headgate: Headgate, workerd: Workerd, stream: str) -> None:
    with headgate.stream("origin", f"/stream/{stream}") as answer:
        # The head is here before anything of the body.
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
        parts = answer.iter_raw()
        for text in (": a comment\n\n", "data: é\r\n\r\n", "event: x\ndata: half an", " event\n\n", "\n"):
            workerd.push(stream, text)
            assert next(parts) == text.encode()
        workerd.finish(stream)
        assert list(parts) == []


def test_bodies_of_every_framing(headgate: Headgate) -> None:
    sized = headgate.call("origin", "/sized?count=50&size=1000")
    assert sized.content == letters(50, 1000)
    assert sized.headers["content-length"] == "50000"
    assert "transfer-encoding" not in sized.headers
    chunked = headgate.call("origin", "/pieces?count=500&size=10001")
    assert chunked.content == letters(500, 10001)
    assert "content-length" not in chunked.headers
    empty = headgate.call("origin", "/pieces?count=0")
    assert (empty.status_code, empty.content) == (200, b"")


def test_a_compressed_body_stays_as_it_is(headgate: Headgate, workerd: Workerd) -> None:
    path, headers = "/compressed?count=40&size=5000", {"accept-encoding": "gzip"}
    with headgate.stream("origin", path, headers=headers) as answer:
        body = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip"
    with httpx.stream("GET", workerd.url(path), headers=headers, trust_env=False) as direct:
        assert body == b"".join(direct.iter_raw())
    assert gzip.decompress(body) == letters(40, 5000)


@pytest.mark.parametrize("sized", [True, False], ids=["sized", "chunked"])
def test_uploads_of_every_framing(headgate: Headgate, sized: bool) -> None:
    body = letters(300, 7919)
    content = body if sized else (body[at : at + 65536] for at in range(0, len(body), 65536))
    answer = headgate.call("origin", "/echo", method="PUT", content=content)
    assert (answer.status_code, answer.headers["x-method"], answer.content == body) == (200, "PUT", True)


@pytest.mark.parametrize("status", [204, 205, 304, 404, 429, 503, 540])
def test_answers_without_a_body(headgate: Headgate, status: int) -> None:
    answer = headgate.call("origin", f"/status?code={status}")
    assert (answer.status_code, answer.content) == (status, b"")


def test_head(headgate: Headgate) -> None:
    answer = headgate.call("origin", "/sized?count=3&size=5", method="HEAD")
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "15", b"")


def test_one_connection_serves_call_after_call(headgate: Headgate, workerd: Workerd) -> None:
    headgate.call("origin", "/headers")
    before = workerd.connections()
    # All bodies are read to their end: where a worker leaves one unread, workerd hangs up, and may cut its own answer short.
    for number in range(30):
        path = ("/headers", "/pieces?count=20&size=100", "/status?code=204", "/sized?count=9")[number % 4]
        assert headgate.call("origin", path).is_success
        assert headgate.call("origin", "/echo", method="POST", content=b"x" * number).content == b"x" * number
    assert workerd.connections() == before


def test_a_reader_that_leaves_ends_the_call_at_the_origin(headgate: Headgate, workerd: Workerd, stream: str) -> None:
    with headgate.stream("origin", f"/stream/{stream}") as answer:
        parts = answer.iter_raw()  # the client hangs up when this goes away, so it is given a name
        workerd.push(stream, "data: 1\n\n")
        assert next(parts) == b"data: 1\n\n"
        during = workerd.connections()
    # In HTTP/1.1 the only way to end a call early is to end its connection, and it is not one that is used again.
    wait(lambda: len(workerd.connections() & during) < len(during), "hung up")

    def noticed() -> bool:
        workerd.push(stream, "data: for nobody\n\n")
        return workerd.left(stream) == 1

    wait(noticed, "noticed by the worker")
    assert headgate.call("origin", "/headers").status_code == 200


def test_a_stream_that_breaks_off_does_not_look_complete(headgate: Headgate, workerd: Workerd, stream: str) -> None:
    with headgate.stream("origin", f"/stream/{stream}") as answer:
        parts = answer.iter_raw()
        workerd.push(stream, "data: 1\n\n")
        assert next(parts) == b"data: 1\n\n"
        workerd.break_off(stream)
        with pytest.raises(httpx.RemoteProtocolError):
            list(parts)
    # What has begun is not begun again.
    assert workerd.opened(stream) == 1
