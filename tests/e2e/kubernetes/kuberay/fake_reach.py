"""A way to clusters whose pods do not run: each has a fake Ray on loopback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from matrix_crds.cluster import MatrixCluster
from matrix_operator.backends.kuberay.layout import public_address
from matrix_operator.backends.kuberay.reading import at, is_ending, is_true, label
from matrix_operator.backends.kuberay.tokens import TokenPair
from matrix_operator.backends.port import RayAddress
from matrix_operator.http import Http, HttpClient
from tests.fakes.ray_server import FakeRay, serve
from tests.lab.kuberay.standin import InThread


class FakeReach:
    """`url` is where a FakeRay answers for each cluster under /<namespace>.<name>/."""

    def __init__(self, url: str) -> None:
        self.http: Http = HttpClient()
        self._url = url

    def address(self, cluster: MatrixCluster, tokens: TokenPair) -> RayAddress:
        url = f"{self._url}/{ray_name(cluster.metadata.namespace, cluster.metadata.name)}"
        return RayAddress(url, url, tokens.ray, tokens.client, public_address(cluster))


def ray_name(namespace: str, name: str) -> str:
    """Of the cluster's FakeRay, in FakeRay.children."""
    return f"{namespace}.{name}"


@contextmanager
def ray_of(standin: InThread) -> Iterator[FakeRay]:
    """A Ray for every cluster of the stand-in: its nodes are the pods that are ready."""
    ray = FakeRay()

    def addresses(cluster: str) -> Sequence[str]:
        namespace, _, name = cluster.partition(".")
        pods = standin.standin.pods_of((namespace, name))
        ready = [pod for pod in pods if is_true(pod, "Ready") and not is_ending(pod)]
        return [str(at(pod, "status", "podIP")) for pod in sorted(ready, key=lambda pod: label(pod, "ray.io/node-type"))]

    ray.addresses = addresses
    with serve(ray):
        yield ray
