"""A real Kubernetes on this machine, from Go modules alone: for tests, and where there is no other cluster.

    python -m k8s.cluster up | down | status | kubectl …

- `pki`: the certificates that the parts show one another
- `processes`: programs that are started, awaited, and stopped by process id
- `control_plane`: etcd, API server, controller manager, scheduler
- `fake_nodes`: kwok's nodes in three zones, and metrics-server with the usage that annotations say
- `worker`, `real_node`: containerd, kubelet, kube-proxy: nodes whose pods really run
- `policies`: what enforces network policies there; a test starts it
"""
