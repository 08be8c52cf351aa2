"""The YAML of tests with vendors' clients: upstreams of a provider that listens on loopback, and policies for them."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import yaml

from headgate.simulate.certificates import Identity

GATEWAY = """
apiVersion: headgate.dev/v1alpha1
kind: IntegrationGateway
metadata: {name: default, namespace: default}
spec:
  default: true
  egress: {allowedCIDRs: [127.0.0.0/8]}
"""


def config_map(name: str, key: str, text: str) -> str:
    """A ConfigMap with one text."""
    return _object("ConfigMap", name, {"data": {key: text}}, version="v1")


def certificate(name: str, identity: Identity) -> str:
    """A Secret with a server's certificate and key."""
    encoded = {"tls.crt": identity.chain_pem, "tls.key": identity.key_pem}
    data = {key: base64.b64encode(value).decode() for key, value in encoded.items()}
    return _object("Secret", name, {"type": "kubernetes.io/tls", "data": data}, version="v1")


def secure_gateway(name: str, port: int, secret: str) -> str:
    """A gateway beside the default one, which serves HTTPS."""
    listener = {"port": port, "tls": {"certificateRef": {"name": secret}}}
    return _object(
        "IntegrationGateway", name, {"spec": {"listener": listener, "egress": {"allowedCIDRs": ["127.0.0.0/8"]}}}
    )


def upstream(name: str, provider: str, port: int, *, secret: str, **spec: object) -> str:
    """An upstream under its real name, with a test's certificate authority and port; the rest is the profile's.

    `secret`: the Secret whose `key` is the credential `key`.
    """
    whole = {
        "provider": provider,
        "port": port,
        "tls": {"validation": {"caCertificateRefs": [{"kind": "ConfigMap", "name": "test-ca"}]}},
        "credentials": [{"name": "key", "secretRef": {"name": secret, "key": "key"}}],
        **spec,
    }
    return _object("UpstreamService", name, {"spec": whole})


def policy(kind: str, name: str, **spec: object) -> str:
    """A policy for the upstream of the same name."""
    return _object(kind, name, {"spec": {"targetRefs": [{"kind": "UpstreamService", "name": name}], **spec}})


def _object(kind: str, name: str, content: Mapping[str, object], version: str = "headgate.dev/v1alpha1") -> str:
    metadata = {"name": name, "namespace": "default"}
    return yaml.safe_dump({"apiVersion": version, "kind": kind, "metadata": metadata, **content}, sort_keys=False)
