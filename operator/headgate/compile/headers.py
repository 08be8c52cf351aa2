"""Header rules, and the headers that no rule and no credential may touch."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.api.upstream import Header, HeaderChanges, Headers
from headgate.compile.draft import Context, Draft
from headgate.compile.origins import Layer, union
from headgate.model.plan import HeaderRules
from headgate.model.verdict import Path

#: The connection's own, the route's own, and those that Headgate and Envoy speak between themselves.
_RESERVED = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_RESERVED_PREFIXES = ("x-envoy-", "x-headgate-", "x-hg-")


def reserved(name: str) -> bool:
    """Whether a header is not the user's to set."""
    return name.lower() in _RESERVED or name.lower().startswith(_RESERVED_PREFIXES)


def fill(context: Context, draft: Draft) -> None:
    """Set the header rules of both directions."""
    headers = context.spec.headers or Headers()
    known = context.profile
    draft.request_headers = _rules(context, "request", headers.request, known.remove_request_headers)
    draft.response_headers = _rules(context, "response", headers.response, known.remove_response_headers)


def _rules(context: Context, direction: str, changes: HeaderChanges | None, known: Sequence[str]) -> HeaderRules:
    """The user's changes; with what the profile takes out, before anything is set."""
    changes = changes or HeaderChanges()
    path: Path = ("spec", "headers", direction)
    sink, own = context.noting(), (Layer.UPSTREAM,)
    set_ = union(sink, f"headers.{direction}.set", own, _pairs(context, (*path, "set"), changes.set))
    add = union(sink, f"headers.{direction}.add", own, _pairs(context, (*path, "add"), changes.add))
    removed = union(
        sink,
        f"headers.{direction}.remove",
        (Layer.UPSTREAM, Layer.KNOWN),
        _removed(context, (*path, "remove"), changes.remove),
        sorted(name.lower() for name in known),
    )
    return HeaderRules(set_, add, tuple(sorted(removed)))


def _pairs(context: Context, path: Path, headers: Sequence[Header]) -> tuple[tuple[str, str], ...]:
    _check_names(context, path, [each.name for each in headers])
    context.findings.unique(path, [each.name.lower() for each in headers], "a header")
    return tuple(sorted((each.name.lower(), each.value.strip(" \t")) for each in headers))


def _removed(context: Context, path: Path, names: Sequence[str]) -> tuple[str, ...]:
    _check_names(context, path, names)
    return tuple(sorted({name.lower() for name in names}))


def _check_names(context: Context, path: Path, names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        if reserved(name):
            context.findings.reject((*path, index), f"{name} belongs to the connection or to the gateway: take it out")
