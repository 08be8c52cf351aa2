"""Zones, their DNS records and their cache, of the simulated Cloudflare API.

Shapes: https://developers.cloudflare.com/api/resources/zones/ and /resources/dns/. State lives on the server's loop; tests
read `records` and `purges` from their own thread, after the call that changed them has been answered.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from headgate.simulate import cloudflare_errors as errors
from headgate.simulate.behaviours import Behaviour
from headgate.simulate.cloudflare_answers import Route, envelope, is_identifier, json_body, page_of

_WHEN = "2026-01-01T00:00:00.000000Z"
_PURGES = ("purge_everything", "files", "tags", "hosts", "prefixes")


@dataclass(slots=True)
class Zone:
    """A zone; `records` by id."""

    name: str
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    purges: list[dict[str, Any]] = field(default_factory=list)
    """The bodies of the purges asked for."""

    def resource(self, account: str) -> dict[str, Any]:
        """The zone in JSON."""
        return {
            "id": self.id,
            "name": self.name,
            "status": "active",
            "paused": False,
            "type": "full",
            "development_mode": 0,
            "name_servers": ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"],
            "original_name_servers": None,
            "original_registrar": None,
            "original_dnshost": None,
            "modified_on": _WHEN,
            "created_on": _WHEN,
            "activated_on": _WHEN,
            "meta": {"step": 2, "page_rule_quota": 3, "phishing_detected": False},
            "owner": {"id": None, "type": "user", "email": None},
            "account": {"id": account, "name": "Simulated"},
            "permissions": ["#dns_records:edit", "#dns_records:read", "#zone:read"],
            "plan": {"id": "0feeeeeeeeeeeeeeeeeeeeeeeeeeeeee", "name": "Free Website", "price": 0, "currency": "USD"},
        }


class Zones:
    """All zones, and the calls about them."""

    def __init__(self, account: str, names: Sequence[str]) -> None:
        self._account = account
        self.zones = {zone.id: zone for zone in (Zone(name) for name in names)}

    def named(self, name: str) -> Zone:
        """The zone of that name. Raises StopIteration."""
        return next(zone for zone in self.zones.values() if zone.name == name)

    def routes(self) -> list[Route]:
        """Where which call goes."""
        records, record = "/zones/{zone}/dns_records", "/zones/{zone}/dns_records/{record}"
        return [
            ("GET", "/zones", self._list),
            ("GET", "/zones/{zone}", self._get),
            ("GET", records, self._list_records),
            ("POST", records, self._create_record),
            ("GET", record, self._record),
            ("PUT", record, self._record),
            ("PATCH", record, self._record),
            ("DELETE", record, self._record),
            ("POST", "/zones/{zone}/purge_cache", self._purge),
        ]

    async def _list(self, request: Request) -> Behaviour:
        wanted = request.query_params.get("name")
        found = [zone for zone in self.zones.values() if wanted in (None, zone.name)]
        return page_of([zone.resource(self._account) for zone in found], request)

    async def _get(self, request: Request) -> Behaviour:
        zone = self._find(request)
        return envelope(zone.resource(self._account)) if isinstance(zone, Zone) else zone

    async def _list_records(self, request: Request) -> Behaviour:
        zone = self._find(request)
        if not isinstance(zone, Zone):
            return zone
        filters = {key: value for key, value in request.query_params.items() if key in ("type", "name", "content")}
        found = [r for r in zone.records.values() if all(r[key] == value for key, value in filters.items())]
        return page_of(found, request)

    async def _create_record(self, request: Request) -> Behaviour:
        zone = self._find(request)
        if not isinstance(zone, Zone):
            return zone
        record = _record(secrets.token_hex(16), zone, await json_body(request))
        return _checked(zone, record) or self._store(zone, record)

    async def _record(self, request: Request) -> Behaviour:
        zone = self._find(request)
        if not isinstance(zone, Zone):
            return zone
        record = zone.records.get(request.path_params["record"])
        if record is None:
            return errors.no_such_record()
        match request.method:
            case "DELETE":
                del zone.records[record["id"]]
                return envelope({"id": record["id"]})
            case "PUT" | "PATCH":
                changes = await json_body(request)
                changed = _record(record["id"], zone, {**record, **changes} if request.method == "PATCH" else changes)
                return _checked(zone, changed) or self._store(zone, changed)
            case _:
                return envelope(record)

    async def _purge(self, request: Request) -> Behaviour:
        zone = self._find(request)
        if not isinstance(zone, Zone):
            return zone
        body = await json_body(request)
        if not any(body.get(name) for name in _PURGES):
            return errors.bad_request(1012, "Request must contain one of " + ", ".join(_PURGES))
        zone.purges.append(body)
        return envelope({"id": zone.id})

    def _store(self, zone: Zone, record: dict[str, Any]) -> Behaviour:
        zone.records[record["id"]] = record
        return envelope(record)

    def _find(self, request: Request) -> Zone | errors.Failure:
        given = request.path_params["zone"]
        if not is_identifier(given):
            return errors.not_routed(request.url.path)
        return self.zones.get(given) or errors.invalid_zone()


def _record(identifier: str, zone: Zone, given: dict[str, Any]) -> dict[str, Any]:
    name = str(given.get("name", "@"))
    # Names come back in full, however they were given.
    full = zone.name if name == "@" else name if name.endswith(zone.name) else f"{name}.{zone.name}"
    return {
        "id": identifier,
        "name": full,
        "type": given.get("type", ""),
        "content": given.get("content", ""),
        "ttl": given.get("ttl", 1),
        "proxied": given.get("proxied", False),
        "proxiable": given.get("type") in ("A", "AAAA", "CNAME"),
        "comment": given.get("comment"),
        "tags": given.get("tags", []),
        "settings": {},
        "meta": {},
        "created_on": _WHEN,
        "modified_on": _WHEN,
    }


def _checked(zone: Zone, record: dict[str, Any]) -> errors.Failure | None:
    kind = record["type"]
    if kind in ("A", "AAAA"):
        try:
            address = ipaddress.ip_address(record["content"])
        except ValueError:
            return errors.invalid_content(kind)
        if address.version != (4 if kind == "A" else 6):
            return errors.invalid_content(kind)
    same = ("name", "type", "content")
    twins = (r for r in zone.records.values() if r["id"] != record["id"] and all(r[k] == record[k] for k in same))
    return errors.identical_record() if next(twins, None) else None
