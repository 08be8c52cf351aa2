"""Load from a process of its own, with little of its own time per request: plain sockets, one thread, `select` for its
microseconds (asyncio over epoll rounds every wait up to a millisecond, which is more than what is measured here).

`python -m bench.sender` reads a Job as JSON from stdin and writes an Outcome as JSON to stdout. The answers must have a
`content-length`. Ends by itself: after the job's seconds, or at the first answer that is not a 200.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field

READ = 65536
#: A job that takes so many seconds longer than it should is given up.
GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Job:
    """GET `target` at 127.0.0.1:`port` for `seconds`. With a `rate` (per second) open loop: requests go out on schedule
    whatever became of the earlier ones, on as many connections as that takes. Without, closed loop: each of `connections`
    sends as soon as it has its answer."""

    port: int
    target: str
    seconds: float
    rate: float = 0.0
    connections: int = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """Times in milliseconds. `latencies` count from the scheduled time (open loop) or from sending (closed), sorted; `late`
    is the longest that this process was behind its schedule; `busy` the share of a core that it used."""

    answered: int
    seconds: float
    busy: float
    late: float = 0.0
    connections: int = 0
    latencies: list[float] = field(default_factory=list)


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.since = 0.0
        self._received = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def done(self) -> bool:
        """Read what is there; True when the answer is complete. Raises RuntimeError unless it is a 200."""
        data = self.socket.recv(READ)
        if not data:
            raise RuntimeError("the connection was closed in the middle")
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"not a 200: {self._received[:500]!r}")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(body) < int(length):
            return False
        self._received = b""
        return True


def send(job: Job) -> Outcome:
    """Do the job. Raises RuntimeError for a wrong answer or one that never came, OSError."""
    request = f"GET {job.target} HTTP/1.1\r\nhost: 127.0.0.1:{job.port}\r\n\r\n".encode()
    began = time.process_time()
    outcome = _open(job, request) if job.rate else _closed(job, request)
    busy = (time.process_time() - began) / outcome.seconds
    return Outcome(outcome.answered, outcome.seconds, busy, outcome.late, outcome.connections, outcome.latencies)


def _open(job: Job, request: bytes) -> Outcome:
    idle: deque[_Connection] = deque(_Connection(job.port) for _ in range(job.connections))
    waiting: list[_Connection] = []
    latencies: list[float] = []
    count, made, late = int(job.rate * job.seconds), job.connections, 0.0
    clock = time.perf_counter
    origin = clock() + 0.01
    sent = 0
    while len(latencies) < count:
        now = clock()
        due = origin + sent / job.rate
        if sent < count and now >= due:
            late = max(late, now - due)
            if idle:
                connection = idle.pop()
            else:
                connection = _Connection(job.port)
                made += 1
            connection.since = due
            connection.socket.sendall(request)
            waiting.append(connection)
            sent += 1
            continue
        ready, _, _ = select.select(waiting, (), (), max(0.0, due - now) if sent < count else GRACE)
        if not ready and sent == count:
            raise RuntimeError(f"{len(waiting)} answers never came")
        for connection in ready:
            if connection.done():
                latencies.append((clock() - connection.since) * 1000)
                waiting.remove(connection)
                idle.append(connection)
    seconds = clock() - origin
    for connection in idle:
        connection.socket.close()
    return Outcome(count, seconds, 0.0, late * 1000, made, sorted(latencies))


def _closed(job: Job, request: bytes) -> Outcome:
    clock = time.perf_counter
    connections = {each.fileno(): each for each in (_Connection(job.port) for _ in range(job.connections))}
    poll = select.epoll()
    origin = clock()
    end = origin + job.seconds
    latencies: list[float] = []
    for fileno, connection in connections.items():
        poll.register(fileno, select.EPOLLIN)
        connection.since = clock()
        connection.socket.sendall(request)
    while (now := clock()) < end:
        ready = poll.poll(GRACE)
        if not ready:
            raise RuntimeError(f"no answer for {GRACE} s")
        for fileno, _ in ready:
            connection = connections[fileno]
            if connection.done():
                now = clock()
                latencies.append((now - connection.since) * 1000)
                connection.since = now
                connection.socket.sendall(request)
    seconds = now - origin
    poll.close()
    for connection in connections.values():
        connection.socket.close()
    return Outcome(len(latencies), seconds, 0.0, 0.0, len(connections), sorted(latencies))


def run(job: Job) -> Outcome:
    """Do the job in a process of its own. Raises RuntimeError with what it wrote if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.sender"],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        timeout=job.seconds + 3 * GRACE,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the sender failed: {done.stderr.strip()}")
    return Outcome(**json.loads(done.stdout))


if __name__ == "__main__":
    json.dump(asdict(send(Job(**json.load(sys.stdin)))), sys.stdout)
