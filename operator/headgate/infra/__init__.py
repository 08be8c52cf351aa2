"""From the Plan to Kubernetes objects: the fleet of each gateway, and the Services by which applications call upstreams.

Pure: no clock, no I/O, no client; the same objects for the same values. `kube/` applies what comes out and removes what no
longer does; the composition root hands in what only it knows (`settings`): the bootstrap of `xds/`, the proxies' certificate,
uids of owners.

`gateway.gateway_objects` and `upstream.upstream_service` are the ways in. `bootstrap` says how a proxy lives and ends in its
pod.
"""
