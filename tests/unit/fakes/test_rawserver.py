"""The raw server's faults reach a client as what they claim to be."""

from __future__ import annotations

import http.client
import socket

import httpx
import pytest

from fakes import rawserver
from fakes.rawserver import NeverAccepts, RawServer
from harness.pki import Authority, client_context


def ask(server: RawServer) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(server.address, server.port, timeout=5)
    connection.request("GET", "/asked")
    return connection.getresponse()


def test_resets_are_resets() -> None:
    with RawServer(rawserver.reset_at_accept(), rawserver.reset_after_request()) as server:
        with pytest.raises(ConnectionResetError):
            ask(server)
        with pytest.raises(ConnectionResetError):
            ask(server)
        assert server.connections[1].head.startswith(b"GET /asked HTTP/1.1\r\n")


def test_closing_without_an_answer_is_an_orderly_end() -> None:
    with RawServer(rawserver.close_without_answer()) as server, pytest.raises(http.client.RemoteDisconnected):
        ask(server)


def test_content_lengths_lie() -> None:
    with RawServer(
        rawserver.content_length_too_long(b"short", by=7), rawserver.content_length_too_short(by=10)
    ) as server:
        with pytest.raises(http.client.IncompleteRead) as caught:
            ask(server).read()
        assert (caught.value.partial, caught.value.expected) == (b"short", 7)
        assert ask(server).read() == b"a body longer than announced"[:-10]


def test_garbage_is_no_http() -> None:
    with RawServer(rawserver.garbage()) as server, pytest.raises(http.client.BadStatusLine):
        ask(server)


def test_half_a_response_then_a_reset() -> None:
    with RawServer(rawserver.half_response_then_reset(b"y" * 1000)) as server:
        answer = ask(server)
        assert (answer.status, answer.headers["content-length"]) == (200, "1000")
        assert answer.read(500) == b"y" * 500
        with pytest.raises(ConnectionResetError):
            answer.read(1)


def test_faults_go_in_turn_and_the_last_repeats() -> None:
    with RawServer(rawserver.reset_at_accept(), rawserver.answer(201, b"fine")) as server:
        with pytest.raises(ConnectionResetError):
            ask(server)
        assert [ask(server).read() for _ in range(2)] == [b"fine", b"fine"]
        server.wait_for_connections(3)
        with pytest.raises(TimeoutError, match="3 of 4"):
            server.wait_for_connections(4, timeout=0.05)


def test_faults_under_tls() -> None:
    ca = Authority()
    with RawServer(rawserver.answer(), rawserver.reset_after_request(), tls=ca.server("127.0.0.1")) as server:
        url = f"https://127.0.0.1:{server.port}/"
        with httpx.Client(verify=client_context(ca.pem), trust_env=False) as client:
            assert client.get(url).text == "ok"
            # Python's TLS reports a reset as a ragged end.
            with pytest.raises(httpx.TransportError):
                client.get(url)


def test_silence_lasts_until_the_client_goes() -> None:
    with (
        RawServer(rawserver.silence()) as server,
        socket.create_connection((server.address, server.port), timeout=0.3) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_never_accepting_neither_connects_nor_refuses() -> None:
    with NeverAccepts() as nowhere, pytest.raises(TimeoutError):
        socket.create_connection((nowhere.address, nowhere.port), timeout=0.5)
