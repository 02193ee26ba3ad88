"""The command lines of the control plane. Paths are relative to its directory, in which every program runs."""

from __future__ import annotations

from pathlib import Path

LOOPBACK = "127.0.0.1"
SERVICE_ADDRESSES = "10.96.0.0/16"
SERVER_NAMES = ("10.96.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
"""What the API server's certificate is for, besides its own address; 10.96.0.1 is the first of SERVICE_ADDRESSES, the API server's own."""
ADMIN_KUBECONFIG = "kubeconfig"

_UNTHROTTLED = ("--kube-api-qps=1000", "--kube-api-burst=1000")
"""By default they hold themselves to 20 and 50 calls a second: a thousand clusters would wait for that alone."""
_ETCD = "unix://etcd.sock:0"
"""A file of that name, `:0` included, in the working directory of etcd and of the API server: no port, and nobody else's."""
_PEER = "unix://peer.sock:0"


def etcd(programs: Path) -> list[str]:
    """A store that is thrown away, so it never waits for the disk."""
    return [
        str(programs / "etcd"),
        "--name=lab",
        "--data-dir=etcd",
        "--unsafe-no-fsync",
        f"--listen-client-urls={_ETCD}",
        f"--advertise-client-urls={_ETCD}",
        f"--listen-peer-urls={_PEER}",
        f"--initial-advertise-peer-urls={_PEER}",
        f"--initial-cluster=lab={_PEER}",
        "--log-level=warn",
        "--quota-backend-bytes=2147483648",
    ]


def api_server(programs: Path, port: int, address: str) -> list[str]:
    """With the admission and authorisation that a cluster has by default. On loopback nothing in pods can call it."""
    return [
        str(programs / "kube-apiserver"),
        f"--etcd-servers={_ETCD}",
        f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--secure-port={port}",
        *(["--endpoint-reconciler-type=none"] if address == LOOPBACK else []),  # loopback can't be an endpoint
        f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--client-ca-file=pki/ca.crt",
        "--tls-cert-file=pki/server.crt",
        "--tls-private-key-file=pki/server.key",
        "--kubelet-certificate-authority=pki/ca.crt",
        "--kubelet-client-certificate=pki/kubelet-client.crt",
        "--kubelet-client-key=pki/kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-key-file=pki/tokens.crt",
        "--service-account-signing-key-file=pki/tokens.key",
        "--profiling=false",
    ]


def controller_manager(programs: Path) -> list[str]:
    """All controllers as the administrator.

    With an account each, they are made one after the other, which takes 5 s. One shared account without the administrator's rights
    may not list custom resources: then garbage collection of what they own silently does not happen.
    """
    return [
        str(programs / "kube-controller-manager"),
        f"--kubeconfig={ADMIN_KUBECONFIG}",
        "--use-service-account-credentials=false",
        "--service-account-private-key-file=pki/tokens.key",
        "--root-ca-file=pki/ca.crt",
        "--leader-elect=false",
        "--secure-port=0",
        *_UNTHROTTLED,
    ]


def scheduler(programs: Path) -> list[str]:
    """Finds nodes for pods; without any node they stay Pending and say why."""
    return [str(programs / "kube-scheduler"), f"--kubeconfig={ADMIN_KUBECONFIG}", "--leader-elect=false", "--secure-port=0", *_UNTHROTTLED]
