"""How `headgate` is started as a process of its own: interpreter, arguments, environment, and coverage if that is
measured.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from harness.dns import DnsServer

SOURCE = Path(__file__).resolve().parents[2] / "operator"
_NOT_PASSED_ON = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def command() -> list[str]:
    """`python -m headgate`, measured if this process is and does not hand that on by itself."""
    return [sys.executable, *_coverage(), "-m", "headgate"]


def environment(secrets: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without proxies, with the source root and the secrets' values."""
    passed = {k: v for k, v in os.environ.items() if k.lower() not in _NOT_PASSED_ON}
    path = os.pathsep.join(p for p in (str(SOURCE), passed.get("PYTHONPATH", "")) if p)
    values = {_variable(index): value for index, value in enumerate(secrets.values())}
    # A terminal's width and colours would change the output from machine to machine.
    fixed = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "200"}
    return {**passed, **fixed, **values, **extra}


def secret_arguments(secrets: Mapping[str, str]) -> list[str]:
    """`--secret NAMESPACE/NAME/KEY=env:VARIABLE` for each: values never appear on a command line."""
    return [a for index, key in enumerate(secrets) for a in ("--secret", f"{key}=env:{_variable(index)}")]


def dns_arguments(dns: DnsServer | str | None) -> list[str]:
    """`--dns-resolver ADDRESS:PORT`, if one is given."""
    if dns is None:
        return []
    return ["--dns-resolver", dns if isinstance(dns, str) else dns.address]


def _variable(index: int) -> str:
    return f"HEADGATE_TEST_SECRET_{index}"


def _coverage() -> list[str]:
    if "COVERAGE_PROCESS_CONFIG" in os.environ or "COVERAGE_PROCESS_START" in os.environ:
        return []
    try:
        from coverage import Coverage
    except ImportError:
        return []
    active = Coverage.current()
    if active is None:
        return []
    return ["-m", "coverage", "run", "--parallel-mode", f"--data-file={Path(active.config.data_file).absolute()}"]
