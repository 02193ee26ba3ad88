"""The one endpoint of ours inside a cluster: GET /matrix/v1/state."""

from __future__ import annotations

from pydantic import ValidationError

from matrix_operator.errors import ForeignFault
from matrix_operator.http import Http
from matrix_operator.looks import Present, Unknown
from matrix_proto.state import STATE_PATH, Load, State

LOOK_SECONDS = 3.0


class RuntimeState:
    """Reads the directory of one cluster."""

    def __init__(self, http: Http, url: str, token: str) -> None:
        self._http = http
        self._url = url.rstrip("/") + STATE_PATH
        self._token = token

    async def look(self) -> Present[State] | Unknown:
        """The state now."""
        return await self._get("", LOOK_SECONDS)

    async def changed(self, since: State | None, wait: float) -> Present[State] | Unknown:
        """The state as soon as it is another than `since`, at the latest after `wait` seconds (at most 60)."""
        if since is None:
            return await self.look()
        return await self._get(f"?since={since.revision}&instance={since.instance}&wait={wait:g}", wait + LOOK_SECONDS)

    async def _get(self, query: str, seconds: float) -> Present[State] | Unknown:
        try:
            answer = await self._http.request("GET", self._url + query, token=self._token, seconds=seconds)
            if answer.status != 200:
                return Unknown(f"the directory answered HTTP {answer.status}")
            return Present(_steady(State.model_validate(answer.json("the directory"))))
        except ForeignFault as fault:
            return Unknown(str(fault))
        except ValidationError as error:
            return Unknown(f"the directory answered with something else than its state ({error.error_count()} differences)")


def _steady(state: State) -> State:
    """Without what moves all the time, so that two looks at the same state are equal."""
    replicas = tuple(replica.model_copy(update={"heartbeat_age": 0.0, "load": Load()}) for replica in state.replicas)
    gateway = state.gateway and state.gateway.model_copy(update={"heartbeat_age": 0.0})
    return state.model_copy(update={"replicas": replicas, "gateway": gateway})
