"""Our operator as `matrix operator run` runs it, but for the way to Ray: the pods of a stand-in do not run."""

from __future__ import annotations

import sys
from pathlib import Path

import bench.image_modules  # noqa: F401  # first
from matrix_operator.backends.kuberay.backend import KubeRayBackend
from matrix_operator.backends.kuberay.settings import KubeRaySettings
from matrix_operator.engines.health_server import Address
from matrix_operator.engines.kubernetes import Carrier, CarrierFactory, Options
from matrix_operator.engines.kubernetes_main import main
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.connection import Connection
from tests.e2e.kubernetes.kuberay.fake_reach import FakeReach


def carrier(url: str) -> CarrierFactory:
    reach = FakeReach(url)

    def make(api: Api, connection: Connection, options: Options) -> Carrier:
        backend = KubeRayBackend(api, KubeRaySettings(image="example.org/matrix:bench"), reach, options.namespaces)
        return Carrier(backend, reach.http, backend.run, lambda: backend.age, lambda: backend.complete)

    return make


if __name__ == "__main__":
    kubeconfig, rays, metrics_port = sys.argv[1:]
    sys.exit(main(Options(kubeconfig=Path(kubeconfig), metrics=Address("127.0.0.1", int(metrics_port))), carrier(rays)))
