"""What tests on an API server declare: a gateway, a Secret with a key, upstreams behind both. YAML documents that can be
joined, without a namespace: whoever applies them says which."""

from __future__ import annotations

import yaml

_OURS = "headgate.dev/v1alpha1"


def gateway(port: int | None = None) -> str:
    """`edge`, which may call loopback; where it listens, if it is to."""
    listener = {} if port is None else {"listener": {"port": port}}
    return _document(
        _OURS, "IntegrationGateway", "edge", spec={**listener, "egress": {"allowedCIDRs": ["127.0.0.0/8"]}}
    )


def key(token: str, name: str = "key") -> str:
    """A Secret with this `token`."""
    return _document("v1", "Secret", name, stringData={"token": token})


def upstream(name: str, port: int, hostname: str = "127.0.0.1", *, secret: str = "", **spec: object) -> str:
    """One of `edge`, in the clear. `secret`: whose token it sends, as `Bearer`. It is not probed, unless the spec says so."""
    credential = {
        "name": "token",
        "secretRef": {"name": secret, "key": "token"},
        "location": {"header": {"name": "authorization", "prefix": "Bearer "}},
    }
    whole = {
        "gatewayRef": {"name": "edge"},
        "hostname": hostname,
        "port": port,
        "tls": {"mode": "None"},
        "probe": {"disabled": True},
        **({"credentials": [credential]} if secret else {}),
        **spec,
    }
    return _document(_OURS, "UpstreamService", name, spec=whole)


def _document(version: str, kind: str, name: str, **content: object) -> str:
    whole = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **content}
    return str(yaml.safe_dump(whole, sort_keys=False, explicit_start=True))
