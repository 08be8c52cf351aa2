"""A client of the control API, for programs that make simulated providers misbehave: demos, tests, scripts.

    with Control.of(state_directory) as control:
        control.fail("generativelanguage.googleapis.com", status=503, times=5)

Blocking; one thread at a time.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from headgate.simulate.script import CallRecord, Calls, HostRecord, Hosts, Script


class ControlProblem(Exception):
    """The control API can't be reached or says no; the message says why."""


class Control:
    """The control API at `url`. Every method raises ControlProblem."""

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        # The environment's proxies are not for this machine.
        self._client = httpx.Client(base_url=url, timeout=timeout, trust_env=False)

    @classmethod
    def of(cls, state: Path) -> Self:
        """The one of the run whose state directory this is."""
        try:
            url = json.loads((state / "run.json").read_bytes())["control"]
        except (OSError, ValueError, KeyError):
            raise ControlProblem(f"no simulated run has left its control API's address in {state}") from None
        return cls(url)

    def hosts(self) -> tuple[HostRecord, ...]:
        """Every simulated host, by name."""
        return Hosts.model_validate(self._ask("GET", "/")).hosts

    def host(self, host: str) -> HostRecord:
        """One host."""
        return HostRecord.model_validate(self._ask("GET", f"/{host}"))

    def count(self, host: str) -> int:
        """How many calls a host has got since the start."""
        return self.host(host).calls

    def calls(self, host: str) -> tuple[CallRecord, ...]:
        """A host's last calls, oldest first."""
        return Calls.model_validate(self._ask("GET", f"/{host}/calls")).calls

    def add(self, host: str, *scripts: Script) -> None:
        """Have these worked off one after the other, after what is there already."""
        content = [each.model_dump(mode="json", by_alias=True, exclude_defaults=True) for each in scripts]
        self._ask("POST", f"/{host}/faults", content)

    def fail(self, host: str, **script: Any) -> None:
        """`add` of one script, by its fields (`retry_info="2s"`)."""
        self.add(host, Script(**script))

    def clear(self, host: str) -> None:
        """Have the host behave again."""
        self._ask("DELETE", f"/{host}/faults")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: str, path: str, content: Any = None) -> Any:
        try:
            answer = self._client.request(method, path, json=content)
            body = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ControlProblem(f"{self._client.base_url} does not answer as a control API does: {error}") from error
        if answer.is_error:
            raise ControlProblem(str(body.get("error", answer.status_code)))
        return body
