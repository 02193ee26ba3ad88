"""What the node's programs are told, as texts of their own formats. All paths are in the node's directory, and absolute."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path
from typing import Any

from tests.lab import layers
from tests.lab.node import addresses, needs

PAUSE_IMAGE = "matrix.dev/pause:lab"
NAME = "lab"
"""Of the node."""


def containerd(directory: Path) -> str:
    """For containerd 1.6 and later. Its default of a negative out-of-memory score needs CAP_SYS_RESOURCE, which a container may lack."""
    runc = 'plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc'
    return f"""\
version = 2
root = "{directory}/containerd/root"
state = "{directory}/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{directory}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[{runc}]
runtime_type = "io.containerd.runc.v2"
base_runtime_spec = "{directory}/container.json"
[{runc}.options]
SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{needs.CNI}"
conf_dir = "{directory}/cni"
"""


def container(default: str) -> str:
    """What every container is made from: containerd's own default, with the packages of this Python mounted for images that want them."""
    spec = json.loads(default)
    source = sysconfig.get_path("purelib")
    spec["mounts"].append({"type": "bind", "source": source, "destination": layers.BESIDE, "options": ["rbind", "ro", "nosuid", "nodev"]})
    return json.dumps(spec)


def network(directory: Path) -> str:
    """Every pod has a link of its own, and what leaves it is routed: no bridge, whose traffic would pass by the service addresses."""
    ranges = [[{"subnet": addresses.PODS}]]
    address = {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}], "dataDir": str(directory / "addresses")}
    return json.dumps({"cniVersion": "0.4.0", "name": "lab", "plugins": [{"type": "ptp", "ipMasq": False, "ipam": address}]})


def kubelet(directory: Path, authority: Path, certificate: Path, key: Path) -> str:
    """`certificate` and `key` are those of its own server, which the API server asks for logs."""
    settings: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": addresses.NODE,
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": str(authority)}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificate),
        "tlsPrivateKeyFile": str(key),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDomain": "cluster.local",
        "clusterDNS": [addresses.NODE],
        "resolvConf": str(directory / "resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{directory}/containerd.sock",
        "volumePluginDir": str(directory / "plugins"),
        "makeIPTablesUtilChains": False,
        # The disk is the machine's, and may be as full as its owner likes.
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
        "imageMinimumGCAge": "24h",
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "10s",
    }
    return json.dumps(settings)


def proxy(kubeconfig: Path) -> str:
    """With nftables, in the node's own network. Limits of connection tracking are the machine's and stay as they are."""
    settings: dict[str, Any] = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": addresses.CLUSTER,
        "hostnameOverride": NAME,
        "oomScoreAdj": 0,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    return json.dumps(settings)


def dns(kubeconfig: Path) -> str:
    """For names of the cluster only: the node's pods reach nothing beyond this machine."""
    return f"""\
.:53 {{
    bind {addresses.NODE}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig} lab
        ttl 5
    }}
    cache 5
}}
"""
