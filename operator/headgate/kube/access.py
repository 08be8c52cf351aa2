"""How the API server is reached: from inside a pod, or by a kubeconfig.

One `Access` per process; `configuration` may be called in any thread and event loop, and reads the files anew each time.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes.aio import config
from kubernetes.aio.client.configuration import Configuration

# Installed without types for these.
_from_pod: Any = config.load_incluster_config
_from_file: Any = config.load_kube_config
_contexts: Any = config.list_kube_config_contexts
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class NoAccess(Exception):
    """There is nothing that says where the API server is, or it can't be read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Access:
    """A kubeconfig (and a context in it), else $KUBECONFIG, else the pod's service account, else ~/.kube/config."""

    kubeconfig: Path | None = None
    context: str | None = None

    async def configuration(self) -> Configuration:
        """For a client. Raises NoAccess."""
        configuration = Configuration()
        try:
            if self._in_pod():
                _from_pod(client_configuration=configuration)
            else:
                path = None if self.kubeconfig is None else str(self.kubeconfig)
                await _from_file(path, self.context, configuration, persist_config=False)
        except (config.ConfigException, OSError) as error:
            raise NoAccess(f"{error}: give a kubeconfig that exists and can be read") from error
        return configuration

    def comforts(self) -> tuple[str, str]:
        """Name and namespace of the context that counts: for commands of people's. No name where there is none."""
        if self._in_pod():
            return "", _POD_NAMESPACE.read_text("utf-8").strip() if _POD_NAMESPACE.exists() else "default"
        try:
            every, current = _contexts(str(self.kubeconfig) if self.kubeconfig else os.environ.get("KUBECONFIG"))
        except (config.ConfigException, OSError):
            return "", "default"  # it was fit to connect by: without the comforts then
        for each in every:
            if each["name"] == (self.context or current["name"]):
                return each["name"], (each.get("context") or {}).get("namespace") or "default"
        return "", "default"

    def _in_pod(self) -> bool:
        return self.kubeconfig is None and "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ


def bearer(configuration: Any) -> tuple[str, str] | None:
    """Scheme and token that a configuration sends, if any."""
    scheme, _, token = str(configuration.api_key.get("BearerToken", "")).partition(" ")
    return (scheme.capitalize(), token.strip()) if token.strip() else None
