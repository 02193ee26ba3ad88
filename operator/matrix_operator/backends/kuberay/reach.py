"""How the controller reaches the clusters: by the names of their Services from inside, through the API server from anywhere else."""

from __future__ import annotations

import asyncio
from typing import Protocol

import httpx2

from matrix_crds.cluster import MatrixCluster
from matrix_operator.backends.kuberay.layout import public_address
from matrix_operator.backends.kuberay.names import DASHBOARD_PORT, STATE_PORT, gateway_service, head_service
from matrix_operator.backends.kuberay.paths import through_service
from matrix_operator.backends.kuberay.tokens import TokenPair
from matrix_operator.backends.port import RayAddress
from matrix_operator.errors import ForeignFault
from matrix_operator.http import Answer, Http, HttpClient
from matrix_store.kubernetes.connection import Connection
from matrix_store.kubernetes.faults import unreachable
from matrix_store.wire import dumps

TOKEN_HEADERS = ("X-Ray-Authorization", "X-Matrix-Authorization")
"""Read by Ray's dashboard (ray/dashboard/authentication) and by ours: the API server keeps `Authorization` for itself."""


class Reach(Protocol):
    """One way to all clusters."""

    @property
    def http(self) -> Http:
        """What the addresses are asked with."""
        ...

    def address(self, cluster: MatrixCluster, tokens: TokenPair) -> RayAddress: ...


class Inside:
    """For an operator in a pod."""

    def __init__(self) -> None:
        self.http: Http = HttpClient()

    def address(self, cluster: MatrixCluster, tokens: TokenPair) -> RayAddress:
        public = public_address(cluster)
        return RayAddress(public.dashboard_url, public.state_url, tokens.ray, tokens.client, public)


class ThroughApiServer:
    """For an operator outside, with a kubeconfig. Each call goes over the API server: for a few clusters."""

    def __init__(self, connection: Connection) -> None:
        self.http: Http = ProxyHttp(connection)

    def address(self, cluster: MatrixCluster, tokens: TokenPair) -> RayAddress:
        namespace = cluster.metadata.namespace
        dashboard = through_service(namespace, head_service(cluster), DASHBOARD_PORT)
        state = through_service(namespace, gateway_service(cluster), STATE_PORT)
        return RayAddress(dashboard, state, tokens.ray, tokens.client, public_address(cluster))


class ProxyHttp:
    """Http over the API server's proxy: its URLs are paths there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def request(self, method: str, url: str, *, token: str, seconds: float, body: object | None = None) -> Answer:
        """As Http.request."""
        headers = dict.fromkeys(TOKEN_HEADERS, f"Bearer {token}") | ({} if body is None else {"Content-Type": "application/json"})
        content = None if body is None else dumps(body)
        try:
            async with asyncio.timeout(seconds):
                answer = await self._connection.http.request(method, url, headers=headers, content=content, timeout=httpx2.Timeout(seconds))
        except TimeoutError as error:
            raise ForeignFault(f"{method} {url} did not answer within {seconds:g} s") from error
        except Exception as error:
            raise ForeignFault(f"{method} {url} failed: {unreachable(error, self._connection.server)}") from error
        return Answer(answer.status_code, answer.text)

    async def close(self) -> None:
        await self._connection.http.aclose()
