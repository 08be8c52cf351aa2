"""The network of a cluster, inside its own network namespace: nothing here is seen by the machine.

The node's address is on a bridge without members, over which the range of Services is routed too: kube-proxy turns an
address from it into a pod's before a packet leaves. Pods get addresses from the `ptp` plugin, each by a wire of its own
to the node: so all traffic between pods is routed, and an answer passes kube-proxy's rules on its way back even when
both pods are neighbours. There is no way out: no address but these has a route.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from cluster.apiserver import SERVICES

NODE = "10.88.0.1"
PODS = "10.244.0.0/16"
DNS_SERVICE = "10.96.0.10"
API_PORT = 6443
API_INSIDE = f"https://{NODE}:{API_PORT}"


def set_up(inside: Callable[[Sequence[str]], str]) -> None:
    """Make the node's interfaces and routes. `inside` runs a command in the cluster's namespaces."""
    inside(["ip", "link", "set", "lo", "up"])
    inside(["ip", "link", "add", "node0", "type", "bridge"])
    inside(["ip", "address", "add", f"{NODE}/24", "dev", "node0"])
    inside(["ip", "link", "set", "node0", "up"])
    inside(["ip", "route", "add", SERVICES, "dev", "node0"])


def cni(state: str) -> str:
    """The configuration for containerd. `state`: where addresses in use are noted."""
    plugin = {
        "type": "ptp",
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": state,
            "ranges": [[{"subnet": PODS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]}, indent=2)
