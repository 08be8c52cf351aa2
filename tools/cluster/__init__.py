"""A real Kubernetes on this machine, from package registries alone: for `make cluster` and end-to-end tests.

In flows what the registries of Go, PyPI and Debian hold (pinned, built once into `.tools/cluster`), out comes a cluster
of one node with the API server, controllers, scheduler, kubelet, kube-proxy, containerd, CoreDNS and metrics-server. No
Docker and no image registry are needed, but root and Linux are.

A cluster lives in namespaces of its own (network, mounts, processes), so two don't meet, no packet for a pod can leave
the machine, and when its first process ends the kernel ends all the others and takes the mounts with them. What is left
to remove are its directory and its cgroups.

`Cluster` is the whole, `ApiServer` the API server and etcd alone, on loopback and without root. Both block; one thread
drives an instance.
"""

from cluster.apiserver import ApiServer
from cluster.cluster import Cluster
from cluster.places import ClusterProblem

__all__ = ["ApiServer", "Cluster", "ClusterProblem"]
