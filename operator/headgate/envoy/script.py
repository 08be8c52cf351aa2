"""The upstream Lua filter: code of ours that sees each attempt. Only where native filters can't do it. Pure.

It costs a Lua VM per cluster and thread (the docs have the figures), so a section gets it only if it retries (`retry.py`) or
has a credential in query or cookies: Envoy's own mutations write the caller's query back decoded, and add to a cookie
again at every attempt.

Beyond the VM every kilobyte of text costs six, because Envoy keeps the text in several places, and what it compiles to as
much again: so a script has the parts that its section needs and no more, and marks are data of the route.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from importlib import resources

from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from headgate.envoy.credentials import carried
from headgate.envoy.metadata import URL_HEADERS
from headgate.envoy.pack import any_of
from headgate.model.plan import CredentialPlace, Section

#: The filter's name, and so the key of its route metadata.
FILTER = "headgate.upstream"

_Names = tuple[tuple[str, str], ...]


def script_filter(section: Section) -> hcm_pb2.HttpFilter | None:
    """The section's filter; None if it needs none. Callers must not change the message: it is shared."""
    parts = list(_parts(section))
    if not parts:
        return None
    query = carried(section.credentials, CredentialPlace.QUERY)
    cookies = carried(section.credentials, CredentialPlace.COOKIE)
    return _filter(query, cookies, (*parts, "main"))


def _parts(section: Section) -> Iterable[str]:
    if any(credential.place is not CredentialPlace.HEADER for credential in section.credentials):
        yield "place"
    if section.retry is not None:
        in_body = any(mark.field for mark in section.retry.marks)
        if section.retry.body_hint is not None or in_body:
            yield from ("inflate", "body")
        if section.retry.body_hint is not None:
            yield "retry_info"
        if section.retry.marks:
            yield "mark"
        if in_body:
            yield "json"
        yield "retry"


@lru_cache(maxsize=64)
def _filter(query: _Names, cookies: _Names, parts: tuple[str, ...]) -> hcm_pb2.HttpFilter:
    tables = ""
    if query or cookies:
        urls = ",".join(_quoted(name) for name in URL_HEADERS)
        tables = f"local QUERY={_table(query)}\nlocal COOKIES={_table(cookies)}\nlocal URLS={{{urls}}}\n"
    code = tables + "".join(_source(part) for part in parts)
    lua = lua_pb2.Lua(default_source_code=base_pb2.DataSource(inline_string=code))
    return hcm_pb2.HttpFilter(name=FILTER, typed_config=any_of(lua))


def _table(names: _Names) -> str:
    entries = "".join(f"{{{_quoted(name)},{_quoted(header)}}}," for name, header in names)
    return f"{{{entries}}}"


@lru_cache(maxsize=16)
def _source(part: str) -> str:
    """The part without comments and indentation: every cluster that has the filter carries it."""
    text = resources.files("headgate.envoy").joinpath("lua", "upstream", f"{part}.lua").read_text(encoding="utf-8")
    lines = (line.strip() for line in text.splitlines())
    return "".join(f"{line.partition(' --')[0]}\n" for line in lines if line and not line.startswith("--"))


def _quoted(text: str) -> str:
    """A Lua string literal that no text can end: every byte as a decimal escape."""
    return '"' + "".join(f"\\{byte:03d}" for byte in text.encode()) + '"'
