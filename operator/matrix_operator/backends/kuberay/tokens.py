"""A cluster's two tokens, in Secrets of its namespace: made once, read when they are needed, and kept in memory.

Only single Secrets are read, by name: whoever may list or watch Secrets may read all of them. So a change is not heard of. It does not
have to be: Ray's processes take their token when their container is started, and so another container of the head is what makes us read
again.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from matrix_crds.cluster import MatrixCluster
from matrix_crds.on_kubernetes import CLIENT_TOKEN_KEY
from matrix_operator.backends.kuberay import companions
from matrix_operator.backends.kuberay.names import (
    RAY_TOKEN_KEY,
    Object,
    client_token_secret,
    is_ours,
    own_metadata,
    ray_token_secret,
)
from matrix_operator.backends.kuberay.paths import one
from matrix_operator.backends.kuberay.reading import at
from matrix_store.errors import NotFound
from matrix_store.kubernetes.api import Api

OLD_WORDS_SECONDS = 30.0
"""So long after a Secret was made again a complaint that it is not there is of before: a kubelet tries again after up to two minutes."""


@dataclass(frozen=True)
class TokenPair:
    ray: str = field(repr=False)
    client: str = field(repr=False)


class Tokens:
    """Of all clusters."""

    def __init__(self, api: Api, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._known: dict[str, tuple[Hashable, TokenPair]] = {}
        self._missed: set[str] = set()
        """Uids of clusters of which a pod waits for such a Secret."""
        self._remade: dict[str, float] = {}
        """When that was last seen to, by the same."""

    def known(self, cluster: MatrixCluster) -> TokenPair | None:
        """What was read last."""
        _, pair = self._known.get(cluster.metadata.uid, (None, None))
        return pair

    async def read(self, cluster: MatrixCluster, incarnation: Hashable) -> TokenPair | None:
        """None if one of the Secrets is not there, or is not ours, or has nothing in it. Asks again only for another `incarnation` (of
        the head; None while there is none). Raises StoreError."""
        former, pair = self._known.get(cluster.metadata.uid, (None, None))
        if pair is not None and former in (None, incarnation):
            self._known[cluster.metadata.uid] = incarnation, pair
            return pair
        ray = await self._value(cluster, ray_token_secret(cluster), RAY_TOKEN_KEY)
        client = await self._value(cluster, client_token_secret(cluster), CLIENT_TOKEN_KEY)
        if not ray or not client:
            self.forget(cluster)
            return None
        self._known[cluster.metadata.uid] = incarnation, TokenPair(ray, client)
        return self.known(cluster)

    def look_for(self, cluster: MatrixCluster, waits_for: str) -> None:
        """A pod waits for a Secret, in these words: if it is one of them, somebody has deleted it. Just after one was made
        again they are old words."""
        if self._clock() - self._remade.get(cluster.metadata.uid, float("-inf")) < OLD_WORDS_SECONDS:
            return
        if any(f'"{name}"' in waits_for for name in (ray_token_secret(cluster), client_token_secret(cluster))):
            self._missed.add(cluster.metadata.uid)

    async def ensure(self, cluster: MatrixCluster) -> None:
        """Make the Secrets that are not there; asks the API server only when that is not known. What was read is what they get again: it
        is what the head has. If both are new, they need not be read. Raises BackendRefusal, StoreError."""
        uid, known = cluster.metadata.uid, self.known(cluster)
        if known is not None and uid not in self._missed:
            return
        pair = known or TokenPair(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
        made = [await companions.create(self._api, cluster, secret) for secret in token_secrets(cluster, pair)]
        if known is None and all(made):
            self._known[uid] = None, pair
        if uid in self._missed:
            self._missed.discard(uid)
            self._remade[uid] = self._clock()

    def forget(self, cluster: MatrixCluster) -> None:
        self._known.pop(cluster.metadata.uid, None)
        self._missed.discard(cluster.metadata.uid)
        self._remade.pop(cluster.metadata.uid, None)

    async def _value(self, cluster: MatrixCluster, name: str, key: str) -> str:
        try:
            secret = await self._api.get(one("Secret", cluster.metadata.namespace, name))
        except NotFound:
            return ""
        encoded = at(secret, "data", key) if is_ours(secret, cluster) else None
        return base64.b64decode(encoded or "").decode().strip()


def token_secrets(cluster: MatrixCluster, pair: TokenPair) -> tuple[Object, ...]:
    """The two Secrets: to be created, never to be written over what is there."""
    contents = (
        (ray_token_secret(cluster), RAY_TOKEN_KEY, pair.ray),
        (client_token_secret(cluster), CLIENT_TOKEN_KEY, pair.client),
    )
    return tuple(
        {"apiVersion": "v1", "kind": "Secret", "metadata": own_metadata(cluster, name), "type": "Opaque", "stringData": {key: token}}
        for name, key, token in contents
    )
