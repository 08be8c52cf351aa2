"""Structured logs on standard error: readable lines on a terminal, JSON otherwise. Never a secret.

`configure` is called once, by the CLI, before anything logs. An object is given by its kind, namespace and name (`of`).
Secrets can't be logged by accident: a SecretValue prints nothing, in a log as anywhere.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, TextIO

import structlog
import structlog.tracebacks

from headgate.model.refs import ObjectRef

#: Without local variables: a Secret's plain text may be among them.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def configure(level: str = "info", stream: TextIO = sys.stderr) -> None:
    """Send what structlog and the standard library log to `stream`. `level` is debug, info, warning or error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    terminal = stream.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if terminal else "iso", utc=not terminal),
        _spell_refs,
    ]
    last: list[structlog.typing.Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=not os.environ.get("NO_COLOR"), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if terminal
        else [_TRACEBACKS, structlog.processors.JSONRenderer(ensure_ascii=False, default=repr)]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    # Some of them would not only chat but show what is sent, credentials and all.
    for chatty in ("watchfiles", "asyncio", "httpx", "httpcore", "hpack", "h2", "hypercorn", "grpc"):
        logging.getLogger(chatty).setLevel(max(number, logging.WARNING))


def of(ref: ObjectRef) -> dict[str, str]:
    """The fields of a log line that is about one object."""
    return {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name}


def _spell_refs(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    ref = event.pop("ref", None)
    if isinstance(ref, ObjectRef):
        event.update(of(ref))
    elif ref is not None:
        event["ref"] = ref
    return event
