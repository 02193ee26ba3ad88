"""Ray's REST API (the dashboard's port), as far as we use it. Facts read off ray 2.60.

Every look answers Present or Unknown; Ray itself never says that something is gone for good. Nonsense (a 200 that is not
what it should be) is Unknown as well.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from matrix_operator.errors import ForeignFault, ServeRejected
from matrix_operator.http import Http
from matrix_operator.looks import Present, Unknown

LOOK_SECONDS = 5.0
SERVE_LOOK_SECONDS = 15.0  # the first one after a start connects the dashboard to the cluster (3 s measured)
PUT_SECONDS = 30.0
REJECTION_LENGTH = 1500

Parsed = TypeVar("Parsed", bound=BaseModel)


class RayModel(BaseModel):
    """A part of Ray's answers; what we don't use is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class RayVersion(RayModel):
    ray_version: str
    session_name: str


class RayNode(RayModel):
    node_id: str
    state: str
    is_head_node: bool = False
    node_ip: str = ""
    resources_total: dict[str, float] = Field(default_factory=dict)

    @property
    def alive(self) -> bool:
        return self.state == "ALIVE"


class ServeReplica(RayModel):
    replica_id: str
    state: str
    node_id: str | None = None
    pid: int | None = None


class ServeDeployment(RayModel):
    name: str
    status: str
    status_trigger: str = ""
    message: str = ""
    target_num_replicas: int | None = None
    replicas: tuple[ServeReplica, ...] = ()


class ServeApplication(RayModel):
    name: str
    status: str
    message: str = ""
    source: str = ""
    deployed_app_config: dict[str, Any] | None = None
    """The entry as Serve accepted it; None for an application that was not deployed by a configuration."""
    deployments: dict[str, ServeDeployment] = Field(default_factory=dict)


class ServeDetails(RayModel):
    """GET /api/serve/applications/."""

    proxy_location: str | None = None
    applications: dict[str, ServeApplication]


class _NodeList(RayModel):
    result: tuple[RayNode, ...]


class _NodeData(RayModel):
    result: _NodeList


class _NodeAnswer(RayModel):
    result: bool
    data: _NodeData


class _Actor(RayModel):
    node_id: str | None = None


class _ActorList(RayModel):
    result: tuple[_Actor, ...]


class _ActorData(RayModel):
    result: _ActorList


class _ActorAnswer(RayModel):
    result: bool
    data: _ActorData


class RayRest:
    """One cluster's REST API. The token is Ray's own: it means code execution."""

    def __init__(self, http: Http, url: str, token: str) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._token = token

    async def version(self) -> Present[RayVersion] | Unknown:
        return await self._look("/api/version", RayVersion, LOOK_SECONDS)

    async def nodes(self) -> Present[tuple[RayNode, ...]] | Unknown:
        """All nodes that this Ray has seen, dead ones included."""
        look = await self._look("/api/v0/nodes?limit=10000", _NodeAnswer, LOOK_SECONDS)
        return Present(look.state.data.result.result) if isinstance(look, Present) else look

    async def idle_addresses(self) -> Present[frozenset[str]] | Unknown:
        """The addresses of the nodes on which no actor lives: no replica, no sandbox, no job's driver."""
        nodes = await self.nodes()
        if isinstance(nodes, Unknown):
            return nodes
        alive = "filter_keys=state&filter_predicates=%3D&filter_values=ALIVE"
        actors = await self._look(f"/api/v0/actors?limit=10000&{alive}", _ActorAnswer, LOOK_SECONDS)
        if isinstance(actors, Unknown):
            return actors
        busy = {actor.node_id for actor in actors.state.data.result.result}
        return Present(frozenset(node.node_ip for node in nodes.state if node.alive and node.node_id not in busy))

    async def serve(self) -> Present[ServeDetails] | Unknown:
        return await self._look("/api/serve/applications/", ServeDetails, SERVE_LOOK_SECONDS)

    async def put_serve(self, config: dict[str, Any]) -> None:
        """Replace the whole set of applications. Raises ServeRejected (HTTP 400), ForeignFault."""
        answer = await self._http.request(
            "PUT", f"{self._url}/api/serve/applications/", token=self._token, seconds=PUT_SECONDS, body=config
        )
        if answer.status == 400:
            raise ServeRejected(answer.text.strip()[-REJECTION_LENGTH:])
        if answer.status != 200:
            raise ForeignFault(f"Ray's dashboard answered HTTP {answer.status} to a Serve configuration: {answer.text.strip()[-300:]}")

    async def _look(self, path: str, shape: type[Parsed], seconds: float) -> Present[Parsed] | Unknown:
        try:
            answer = await self._http.request("GET", self._url + path, token=self._token, seconds=seconds)
            if answer.status != 200:
                return Unknown(f"Ray's dashboard answered HTTP {answer.status} to GET {path.split('?')[0]}")
            return Present(shape.model_validate(answer.json(f"Ray's dashboard at {path.split('?')[0]}")))
        except ForeignFault as fault:
            return Unknown(str(fault))
        except ValidationError as error:
            return Unknown(
                f"Ray's dashboard answered GET {path.split('?')[0]} with something else than expected ({error.error_count()} differences)"
            )
