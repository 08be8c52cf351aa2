"""What the parts of a cluster are told: the commands and configuration files of control plane and node.

Pure but for the files it writes. All paths are as seen inside the cluster's namespaces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import network
from cluster.apiserver import etcd_command, server_certificate, server_command
from cluster.images import PAUSE
from cluster.pki import Authority, Pair
from cluster.space import INSIDE

NODE_NAME = "node"
#: What has to run before the others have something to talk to.
CONTROL_PLANE = ("etcd", "kube-apiserver")
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"


@dataclass(frozen=True, slots=True)
class Told:
    """A cluster's files, and its parts by name, in the order in which they start."""

    authority: Authority
    admin: Pair
    commands: Mapping[str, Sequence[str]]


def write(
    own: Path, binaries: Mapping[str, Path], cgroup: str, snapshotter: str, extra: Mapping[str, Sequence[str]]
) -> Told:
    """Write all files into the cluster's own folder `own`. `extra`: more flags, by part."""
    authority = Authority(own / "pki")
    tokens = authority.signing_key("service-account")
    admin = authority.issue("admin", "admin", "system:masters")
    users = {
        "kube-controller-manager": authority.issue("controller-manager", "system:kube-controller-manager"),
        "kube-scheduler": authority.issue("scheduler", "system:kube-scheduler"),
        "kube-proxy": authority.issue("kube-proxy", "system:kube-proxy"),
        "kubelet": authority.issue(
            "kubelet", f"system:node:{NODE_NAME}", "system:nodes", hosts=(NODE_NAME, network.NODE, "127.0.0.1")
        ),
    }
    for name, pair in users.items():
        authority.kubeconfig(own / f"{name}.kubeconfig", network.API_INSIDE, pair)
    (own / "cni").mkdir(exist_ok=True)
    (own / "cni" / "pods.conflist").write_text(network.cni(str(INSIDE / "addresses")), "utf-8")
    (own / "containerd.toml").write_text(_containerd(snapshotter), "utf-8")
    # No name server: what CoreDNS does not know does not exist.
    (own / "resolv.conf").write_text("", "utf-8")
    _write_json(own / "kubelet.json", _kubelet(authority, users["kubelet"], cgroup))
    _write_json(own / "kube-proxy.json", _kube_proxy())
    commands: dict[str, list[str | Path]] = {
        "etcd": etcd_command(binaries["etcd"], INSIDE / "etcd", 2379, 2380),
        "kube-apiserver": _api_server(binaries["kube-apiserver"], authority, tokens),
        "containerd": [binaries["containerd"], f"--config={INSIDE}/containerd.toml"],
        "kube-controller-manager": _controller_manager(binaries["kube-controller-manager"], authority, tokens),
        "kube-scheduler": [binaries["kube-scheduler"], *_kubeconfigs("kube-scheduler"), "--leader-elect=false"],
        "kubelet": [
            *(binaries["kubelet"], f"--config={INSIDE}/kubelet.json", f"--kubeconfig={INSIDE}/kubelet.kubeconfig"),
            *(f"--root-dir={INSIDE}/kubelet", f"--hostname-override={NODE_NAME}", f"--node-ip={network.NODE}"),
        ],
        "kube-proxy": [binaries["kube-proxy"], f"--config={INSIDE}/kube-proxy.json"],
    }
    told = {name: [str(part) for part in (*command, *extra.get(name, ()))] for name, command in commands.items()}
    # Files were written from outside; the parts read them from inside.
    swapped = {name: [part.replace(str(own), str(INSIDE)) for part in command] for name, command in told.items()}
    return Told(authority, admin, swapped)


def _api_server(binary: Path, authority: Authority, tokens: Pair) -> list[str | Path]:
    kubelets = authority.issue("kubelet-client", "kube-apiserver-kubelet-client", "system:masters")
    front = authority.issue("front-proxy", "front-proxy-client")
    ca = authority.pair.certificate
    return [
        *server_command(binary, authority, server_certificate(authority, network.NODE), tokens, 2379),
        *(f"--secure-port={network.API_PORT}", "--bind-address=0.0.0.0", f"--advertise-address={network.NODE}"),
        # `kubectl logs` and `exec`: the node's name is known nowhere.
        "--kubelet-preferred-address-types=InternalIP",
        *(f"--kubelet-client-certificate={kubelets.certificate}", f"--kubelet-client-key={kubelets.key}"),
        f"--kubelet-certificate-authority={ca}",
        # For metrics-server, which answers for the API server under its own name.
        *(f"--requestheader-client-ca-file={ca}", "--requestheader-allowed-names=front-proxy-client"),
        *("--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group"),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        *(f"--proxy-client-cert-file={front.certificate}", f"--proxy-client-key-file={front.key}"),
    ]


def _controller_manager(binary: Path, authority: Authority, tokens: Pair) -> list[str | Path]:
    ca = authority.pair
    return [
        binary,
        *_kubeconfigs("kube-controller-manager"),
        "--leader-elect=false",
        *(f"--root-ca-file={ca.certificate}", f"--service-account-private-key-file={tokens.key}"),
        *(f"--cluster-signing-cert-file={ca.certificate}", f"--cluster-signing-key-file={ca.key}"),
        "--use-service-account-credentials=true",
        # Metrics are 15 s old at most, so an autoscaler need not look less often.
        *("--horizontal-pod-autoscaler-sync-period=5s", "--horizontal-pod-autoscaler-cpu-initialization-period=30s"),
    ]


def _kubeconfigs(name: str) -> list[str]:
    path = f"{INSIDE}/{name}.kubeconfig"
    return [f"--{purpose}kubeconfig={path}" for purpose in ("", "authentication-", "authorization-")]


def _kubelet(authority: Authority, serving: Pair, cgroup: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "x509": {"clientCAFile": _inside(authority.pair.certificate)},
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": _inside(serving.certificate),
        "tlsPrivateKeyFile": _inside(serving.key),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "clusterDNS": [network.DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{INSIDE}/resolv.conf",
        "podLogsDir": f"{INSIDE}/log/pods",
        "volumePluginDir": f"{INSIDE}/kubelet/plugins",
        # All its cgroups are below one, so that they can be found and removed; that works on both versions of cgroups.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "cgroupsPerQOS": True,
        "failCgroupV1": False,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        # A full disk is the machine's business, and an image that was thrown away could not be fetched again.
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        # Changed Secrets and ConfigMaps reach their volumes within about this time.
        "syncFrequency": "10s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
    }


def _kube_proxy() -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": NODE_NAME,
        "clientConnection": {"kubeconfig": f"{INSIDE}/kube-proxy.kubeconfig"},
        "metricsBindAddress": "127.0.0.1:10249",
        "oomScoreAdj": 0,
        # These are settings of the whole machine.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _containerd(snapshotter: str) -> str:
    off = [f"io.containerd.snapshotter.v1.{name}" for name in ("blockfile", "btrfs", "devmapper", "erofs", "zfs")]
    off += ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
    return f"""\
version = 3
root = "{INSIDE}/containerd"
state = "/run/containerd"
disabled_plugins = {json.dumps(off)}

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "{snapshotter}"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE}"

[plugins."io.containerd.cri.v1.runtime"]
disable_apparmor = true
# Without CAP_SYS_RESOURCE runc may not lower a score, and dies of it.
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "runc"
SystemdCgroup = false

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "{INSIDE}/cni"
"""


def _inside(path: Path) -> str:
    return str(INSIDE / "pki" / path.name)


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
