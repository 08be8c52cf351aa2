"""The fake server does what tests will rely on, over real sockets."""

from __future__ import annotations

import hashlib
import ssl
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from websockets.sync.client import connect

from harness.pki import Authority, client_context
from headgate.simulate.behaviours import (
    Gate,
    cut_off,
    delayed,
    echo,
    hang,
    json_response,
    large_body,
    pattern_sha256,
    respond,
    slow_body,
    statuses,
)
from headgate.simulate.server import FOUR_ADDRESSES, FakeServer
from headgate.simulate.sse import Sse

CA = Authority()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


def get(server: FakeServer, path: str = "/", **kwargs: object) -> httpx.Response:
    with httpx.Client(trust_env=False) as client:
        return client.request("GET", server.url(path), **kwargs)  # type: ignore[arg-type]


def test_records_a_request_as_it_was_sent(server: FakeServer) -> None:
    with httpx.Client(trust_env=False) as client:
        answer = client.post(
            server.url("/a%2Fb//c?x=1&x=2"),
            headers=[("X-One", "1"), ("X-Two", "2"), ("X-One", "3")],
            content=b"hello",
        )
    (record,) = server.wait_for(1, where=lambda r: r.finished)
    assert (record.method, record.raw_path, record.query) == ("POST", b"/a%2Fb//c", b"x=1&x=2")
    assert record.target == b"/a%2Fb//c?x=1&x=2"
    assert [pair for pair in record.headers if pair[0].startswith("x-")] == [
        ("x-one", "1"),
        ("x-two", "2"),
        ("x-one", "3"),
    ]
    assert (record.body, record.body_length, record.body_complete) == (b"hello", 5, True)
    assert record.body_sha256 == hashlib.sha256(b"hello").hexdigest()
    assert record.peer[0] == "127.0.0.1"
    assert record.local == ("127.0.0.1", server.port)
    assert (record.http_version, record.answered, record.disconnected) == ("1.1", 200, False)
    assert answer.json()["body_sha256"] == record.body_sha256
    assert ["x-one", "3"] in answer.json()["headers"]


def test_a_large_upload_is_digested_whole_but_not_kept(server: FakeServer) -> None:
    content = b"0123456789" * 500_000
    with httpx.Client(trust_env=False) as client:
        client.post(server.url("/upload"), content=content)
    (record,) = server.requests
    assert record.body_length == len(content)
    assert record.body_sha256 == hashlib.sha256(content).hexdigest()
    assert len(record.body) == 1 << 20
    with pytest.raises(ValueError, match="were kept"):
        record.json()


def test_listens_on_the_same_port_of_four_addresses() -> None:
    with FakeServer(addresses=FOUR_ADDRESSES) as server, httpx.Client(trust_env=False) as client:
        for address in FOUR_ADDRESSES:
            assert client.get(server.url(host=address)).json()["local"] == address
    assert [record.local[0] for record in server.requests] == list(FOUR_ADDRESSES)


def test_refuses_other_than_loopback_addresses() -> None:
    with pytest.raises(ValueError, match="loopback"):
        FakeServer(addresses=["0.0.0.0"])


def test_scripts_paths_sequences_and_next_requests(server: FakeServer) -> None:
    server.on("/exact", statuses("503,503,200"))
    server.on("/pre/*", json_response({"a": 1}, 201), method="GET")
    server.next(respond(418))
    assert get(server, "/exact").status_code == 418
    assert [get(server, "/exact").status_code for _ in range(4)] == [503, 503, 200, 200]
    assert get(server, "/pre/fix").json() == {"a": 1}
    server.on("/exact", respond(204))
    assert get(server, "/exact").status_code == 204
    server.default(respond(404, "no", {"x-why": "nothing there"}))
    assert get(server, "/else").headers["x-why"] == "nothing there"


def test_http2_by_alpn_and_sni_are_seen() -> None:
    identity = CA.intermediate().server("api.example.test", "127.0.0.1")
    with FakeServer(tls=identity) as server:
        with httpx.Client(verify=client_context(CA.pem), http2=True, trust_env=False) as client:
            answer = client.get(server.url("/"), extensions={"sni_hostname": "api.example.test"})
        assert answer.http_version == "HTTP/2"
        assert server.requests[0].http_version == "2"
        assert server.requests[0].scheme == "https"
        assert (server.handshakes[0].sni, server.handshakes[0].alpn) == ("api.example.test", "h2")
        assert get_tls(server).json()["http_version"] == "1.1"


def test_h2c_by_prior_knowledge(server: FakeServer) -> None:
    with httpx.Client(http1=False, http2=True, trust_env=False) as client:
        assert client.get(server.url("/")).json()["http_version"] == "2"


def test_client_certificates_are_required_and_recorded() -> None:
    me = CA.client("me", uris=["spiffe://test/me"])
    with FakeServer(tls=CA.server("127.0.0.1"), client_ca=CA.pem) as server:
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            get_tls(server)
        stranger = Authority("other").client("me")
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            get_tls(server, context=client_context(CA.pem, stranger))
        assert get_tls(server, context=client_context(CA.pem, me)).status_code == 200
        assert [h.client_certificate for h in server.handshakes if h.client_certificate] == [me.der]
        assert len(server.requests) == 1


@pytest.mark.parametrize("flaw", ["wrong name", "expired", "not yet valid", "other authority"])
def test_flawed_certificates_are_refused_by_clients(flaw: str) -> None:
    identity = {
        "wrong name": CA.wrong_name(),
        "expired": CA.expired("127.0.0.1"),
        "not yet valid": CA.not_yet_valid("127.0.0.1"),
        "other authority": Authority("other").server("127.0.0.1"),
    }[flaw]
    with (
        FakeServer(tls=identity) as server,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        get_tls(server)


def test_large_bodies_are_the_same_every_time(server: FakeServer) -> None:
    server.default(large_body(3_000_001))
    answer = get(server)
    assert answer.headers["content-length"] == "3000001"
    assert hashlib.sha256(answer.content).hexdigest() == pattern_sha256(3_000_001)


def test_slow_and_delayed_answers(server: FakeServer) -> None:
    server.next(slow_body([b"a", b"b", b"c"], 0.05), delayed(0.1, respond(202)))
    slow = get(server)
    assert slow.text == "abc"
    assert slow.elapsed.total_seconds() >= 0.1
    late = get(server)
    assert late.status_code == 202
    assert late.elapsed.total_seconds() >= 0.1


@pytest.mark.parametrize("headers_first", [False, True])
def test_hang_ends_when_the_client_goes(server: FakeServer, headers_first: bool) -> None:
    server.default(hang(headers_first=headers_first))
    with pytest.raises(httpx.ReadTimeout):
        get(server, timeout=0.2)
    (record,) = server.wait_for(1, where=lambda r: r.finished)
    assert record.disconnected
    assert record.answered == (200 if headers_first else None)


def test_stop_cuts_off_calls_in_flight() -> None:
    failures: list[Exception] = []
    server = FakeServer(default=hang())
    with server:

        def call() -> None:
            try:
                get(server, timeout=30)
            except httpx.TransportError as error:
                failures.append(error)
            else:
                failures.append(AssertionError("answered"))

        thread = threading.Thread(target=call)
        thread.start()
        server.wait_for(1)
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert len(failures) == 1


def test_connections_can_be_dropped_and_none_delays_the_end() -> None:
    with httpx.Client(verify=client_context(CA.pem), trust_env=False) as client:
        with FakeServer(tls=CA.server("127.0.0.1")) as server:
            first = client.get(server.url("/")).extensions["network_stream"].get_extra_info("client_addr")
            server.drop_connections()
            second = client.get(server.url("/")).extensions["network_stream"].get_extra_info("client_addr")
            assert first != second
            began = time.monotonic()
        # The client's connection is idle but open.
        assert time.monotonic() - began < 3


def test_cut_off_bodies_are_noticed(server: FakeServer) -> None:
    server.default(cut_off())
    with pytest.raises(httpx.RemoteProtocolError):
        get(server)


def test_gate_holds_calls_until_opened(server: FakeServer) -> None:
    gate = Gate(respond(200, "later"))
    server.default(gate)
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(get(server).text)) for _ in range(3)]
    for thread in threads:
        thread.start()
    gate.wait_held(3)
    assert answers == []
    gate.release(1)
    gate.open()
    for thread in threads:
        thread.join(timeout=5)
    assert answers == ["later"] * 3


def test_sse_events_arrive_when_the_test_sends_them(server: FakeServer) -> None:
    sse = Sse()
    server.on("/events", sse)
    with httpx.Client(trust_env=False) as client, client.stream("GET", server.url("/events")) as answer:
        stream = sse.accept()
        lines = answer.iter_lines()
        assert answer.headers["content-type"] == "text/event-stream"
        for number in range(3):
            stream.send(f"event {number}", event="tick")
            assert [next(lines) for _ in range(3)] == ["event: tick", f"data: event {number}", ""]
        stream.close()
        assert list(lines) == []
    with httpx.Client(trust_env=False) as client, client.stream("GET", server.url("/events")) as answer:
        sse.accept().abort()
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()
    with httpx.Client(trust_env=False) as client, client.stream("GET", server.url("/events")):
        stream = sse.accept()
    stream.wait_client_gone()


def test_websocket_echo_and_refusal(server: FakeServer) -> None:
    with connect(server.url("/ws").replace("http", "ws"), proxy=None) as socket:
        socket.send("text")
        assert socket.recv() == "text"
        socket.send(b"bytes")
        assert socket.recv() == b"bytes"
    (record,) = server.wait_for(1, where=lambda r: r.finished)
    assert record.websocket
    assert record.answered == 101
    assert record.raw_path == b"/ws"


def test_wait_for_gives_up(server: FakeServer) -> None:
    get(server, "/seen")
    with pytest.raises(TimeoutError, match="GET /seen -> 200"):
        server.wait_for(2, timeout=0.05)
    server.recorder.clear()
    assert server.requests == ()


def test_respond_before_reading_the_body(server: FakeServer) -> None:
    server.default(respond(413, "too large", read_body=False), echo())
    with httpx.Client(trust_env=False) as client:
        assert client.post(server.url("/"), content=b"x").status_code == 413


def get_tls(server: FakeServer, context: ssl.SSLContext | None = None) -> httpx.Response:
    with httpx.Client(verify=context or client_context(CA.pem), trust_env=False) as client:
        return client.get(server.url("/"))
