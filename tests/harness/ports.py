"""Ports for a process that is told where to listen, and so can't ask the kernel for a free one."""

from __future__ import annotations

import random
import socket
from pathlib import Path


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that nothing listens on, outside the range from which the kernel gives ports to outgoing connections.

    A port from that range may be taken by anybody's connection between being found and being used.
    """
    low, high = _outgoing_range()
    candidates = range(15000, low) if low > 16000 else range(max(high + 1, 20000), 65000)
    for port in random.sample(candidates, min(len(candidates), 500)):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as trial:
            try:
                trial.bind((address, port))
            except OSError:
                continue
            return port
    raise OSError("no free port found")


def _outgoing_range() -> tuple[int, int]:
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except OSError:
        return 32768, 60999
    return int(low), int(high)
