"""Faults below HTTP: a TCP (or TLS) server that misbehaves per connection, as told.

Each connection gets the next fault, the last one repeating. Faults run in a thread per connection;
`RawServer`'s public members may be used from any thread.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from headgate.simulate.certificates import Identity, server_context

MAX_HEAD = 1 << 20


class RawConnection:
    """One accepted connection."""

    def __init__(self, sock: socket.socket, stopping: threading.Event) -> None:
        self._sock = sock
        self._stopping = stopping
        self.head = b""
        """The request head, once `read_head` has read it."""

    def read_head(self) -> bytes:
        """Read up to the end of the request's headers; what came of the body with it is dropped."""
        while b"\r\n\r\n" not in self.head and len(self.head) < MAX_HEAD:
            data = self._sock.recv(65536)
            if not data:
                break
            self.head += data
        self.head = self.head.partition(b"\r\n\r\n")[0]
        return self.head

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        self._sock.sendall(data)

    def receive(self) -> bytes:
        """What the client sends next, for a fault that reads more than one head; empty once the client has closed or
        the server stops.
        """
        self._sock.settimeout(0.1)
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                return self._sock.recv(65536)
        return b""

    def reset(self) -> None:
        """Close with a TCP reset instead of an orderly end."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Under TLS the wrapper must not say good-bye first.
        fd = self._sock.detach()
        socket.close(fd)

    def close(self) -> None:
        """Close in order. What the client sent and nobody read is read first, for it would make the end a
        reset.
        """
        with contextlib.suppress(OSError):
            self._sock.setblocking(False)
            while self._sock.recv(65536):
                pass
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def hold(self) -> None:
        """Keep the connection open without a word until the client closes it or the server stops."""
        self._sock.settimeout(0.1)
        while not self._stopping.is_set():
            try:
                if not self._sock.recv(65536):
                    return
            except TimeoutError:
                continue


Fault = Callable[[RawConnection], None]


def reset_at_accept() -> Fault:
    """Reset as soon as the connection is there."""
    return lambda connection: connection.reset()


def reset_after_request() -> Fault:
    """Read the request's head, then reset."""

    def fault(connection: RawConnection) -> None:
        connection.read_head()
        connection.reset()

    return fault


def close_without_answer() -> Fault:
    """Read the request's head, then close in order without a byte of answer."""

    def fault(connection: RawConnection) -> None:
        connection.read_head()
        connection.close()

    return fault


def content_length_too_long(body: bytes = b"short", *, by: int = 10) -> Fault:
    """Announce `by` bytes more than are sent, then close."""
    return _answer(body, len(body) + by)


def content_length_too_short(body: bytes = b"a body longer than announced", *, by: int = 10) -> Fault:
    """Announce `by` bytes fewer than are sent, then close."""
    return _answer(body, len(body) - by)


def garbage(data: bytes = b"\x00\xff this is not HTTP \r\n\r\n\x80\x81") -> Fault:
    """Answer with bytes that are no HTTP, then close."""

    def fault(connection: RawConnection) -> None:
        connection.read_head()
        connection.send(data)
        connection.close()

    return fault


def half_response_then_reset(body: bytes = b"x" * 1000, *, status: int = 200) -> Fault:
    """Send the headers and half the body that they announce, then reset once the client has had time to take
    it in.
    """

    def fault(connection: RawConnection) -> None:
        connection.read_head()
        connection.send(_head(status, len(body)) + body[: len(body) // 2])
        # A reset throws away what the peer has not read yet; being acknowledged is the best sign there is
        # that it has it.
        _wait_acknowledged(connection)
        connection.reset()

    return fault


def answer(status: int = 200, body: bytes = b"ok") -> Fault:
    """No fault: a proper answer, then an orderly close."""

    def fault(connection: RawConnection) -> None:
        connection.read_head()
        connection.send(_head(status, len(body)) + body)
        connection.close()

    return fault


def silence() -> Fault:
    """Accept, read, and never answer."""
    return lambda connection: connection.hold()


def raw_bytes(data: bytes) -> Fault:
    """Read the request's head, send exactly these bytes, close."""
    return garbage(data)


class RawServer:
    """Deals each accepted connection the next fault; the last one repeats. Use as a context manager."""

    def __init__(
        self,
        *faults: Fault,
        address: str = "127.0.0.1",
        port: int = 0,
        tls: Identity | None = None,
        alpn: Sequence[str] = ("http/1.1",),
    ) -> None:
        if not faults:
            raise ValueError("at least one fault is needed")
        self._faults = list(faults)
        self._context = server_context(tls, alpn=alpn) if tls else None
        self._listener = socket.create_server((address, port), backlog=1024)
        self.address = address
        self.port: int = self._listener.getsockname()[1]
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._connections: list[RawConnection] = []
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, name=f"raw-server-{self.port}", daemon=True)

    @property
    def connections(self) -> tuple[RawConnection, ...]:
        """All connections accepted so far, in order; `.head` is the request of each, where its fault reads
        one.
        """
        with self._changed:
            return tuple(self._connections)

    def wait_for_connections(self, count: int, timeout: float = 10.0) -> None:
        """Wait until `count` connections have been accepted. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._connections) >= count, timeout):
                raise TimeoutError(f"{len(self._connections)} of {count} connections after {timeout} s")

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._acceptor.join(timeout=10)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=10)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            ready, _, _ = select.select([self._listener], [], [], 0.1)
            if ready:
                sock, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(sock, self._next_fault()), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _next_fault(self) -> Fault:
        return self._faults.pop(0) if len(self._faults) > 1 else self._faults[0]

    def _serve(self, sock: socket.socket, fault: Fault) -> None:
        with contextlib.suppress(OSError):
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            connection = RawConnection(sock, self._stopping)
            with self._changed:
                self._connections.append(connection)
                self._changed.notify_all()
            fault(connection)
        sock.close()


class NeverAccepts:
    """An address where connecting neither succeeds nor fails: the queue of pending connections is full and
    stays so.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.bind((address, 0))
        self._listener.listen(0)
        self.address = address
        self.port: int = self._listener.getsockname()[1]
        self._fillers: list[socket.socket] = []

    def __enter__(self) -> Self:
        for _ in range(64):
            filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            filler.setblocking(False)
            self._fillers.append(filler)
            filler.connect_ex((self.address, self.port))
            _, connected, _ = select.select([], [filler], [], 0.2)
            if not connected:
                return self
        raise OSError("the queue of pending connections never filled up")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in [*self._fillers, self._listener]:
            sock.close()


def _answer(body: bytes, announced: int) -> Fault:
    def fault(connection: RawConnection) -> None:
        connection.read_head()
        connection.send(_head(200, announced) + body)
        connection.close()

    return fault


def _head(status: int, length: int) -> bytes:
    lines = [f"HTTP/1.1 {status} Raw", "content-type: text/plain", f"content-length: {length}", "connection: close"]
    return "".join(line + "\r\n" for line in [*lines, ""]).encode()


def _wait_acknowledged(connection: RawConnection) -> None:
    """Wait until the peer's kernel has acknowledged all that was sent (Linux: SIOCOUTQ)."""
    import fcntl
    import termios
    import time

    deadline = time.monotonic() + 5
    pending = bytearray(4)
    while time.monotonic() < deadline:
        fcntl.ioctl(connection._sock.fileno(), termios.TIOCOUTQ, pending)
        if struct.unpack("i", pending)[0] == 0:
            return
        time.sleep(0.005)
