"""Log lines: JSON where nobody watches, readable on a terminal, and no secret in either."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.telemetry.logs import configure, of

CANARY = "canary-51c2"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_json_with_the_object_apart() -> None:
    stream = io.StringIO()
    configure("info", stream)
    ref = ObjectRef("UpstreamService", "shop", "gemini")
    log = structlog.stdlib.get_logger("headgate.test")
    log.info("it.happened", ref=ref, answer=42)
    log.debug("too.small")
    logging.getLogger("elsewhere").warning("from the %s", "library")
    first, second = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {key: first[key] for key in ("event", "level", "logger", "answer")} == {
        "event": "it.happened",
        "level": "info",
        "logger": "headgate.test",
        "answer": 42,
    }
    assert {key: first[key] for key in of(ref)} == {"kind": "UpstreamService", "namespace": "shop", "name": "gemini"}
    assert first["timestamp"].endswith("Z")
    assert (second["event"], second["level"]) == ("from the library", "warning")


def test_readable_on_a_terminal() -> None:
    stream = Terminal()
    configure("info", stream)
    structlog.stdlib.get_logger("headgate.test").info("it.happened", answer=42)
    assert "it.happened" in stream.getvalue()
    assert "\x1b[" in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["json", "terminal"])
def test_no_secret_whatever_is_logged(stream: io.StringIO) -> None:
    configure("debug", stream)
    log = structlog.stdlib.get_logger("headgate.test")
    secret = SecretValue(CANARY.encode())
    log.info("values", one=secret, many=[secret], inside={"key": secret})

    def fails() -> None:
        plain = secret.reveal().decode()  # as a bug would have it at hand
        raise RuntimeError(len(plain))

    try:
        fails()
    except RuntimeError:
        log.exception("it.failed", secret=secret)
        logging.getLogger("elsewhere").exception("it failed %s", secret)
    assert "RuntimeError" in stream.getvalue()
    assert CANARY not in stream.getvalue()
    assert CANARY.encode().hex() not in stream.getvalue()
