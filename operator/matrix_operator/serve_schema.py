"""A copy of the part of Serve's schema that we render, so that a bad entry is found before a whole PUT fails on it.

Bounds read off ray 2.60's serve/schema.py; a test compares the verdicts with Ray's own.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _ActorOptions(_Strict):
    num_cpus: NonNegative | None = None
    num_gpus: NonNegative | None = None
    memory: NonNegative | None = None
    resources: dict[str, float] = {}


class _Deployment(_Strict):
    """What is left out is the application's own default."""

    name: str
    num_replicas: Annotated[int, Field(gt=0)] = 1
    max_ongoing_requests: Annotated[int, Field(gt=0)] = 1
    user_config: dict[str, Any]
    ray_actor_options: _ActorOptions = _ActorOptions()
    graceful_shutdown_wait_loop_s: NonNegative = 0
    graceful_shutdown_timeout_s: NonNegative = 0
    health_check_period_s: Positive = 1
    health_check_timeout_s: Positive = 1
    max_surge_percent: Annotated[int, Field(ge=0, le=100)] = 0


class _Application(_Strict):
    name: Annotated[str, Field(min_length=1)]
    route_prefix: None
    import_path: Annotated[str, Field(pattern=r"^[\w.]+[:.]\w+$")]
    args: dict[str, Any]
    deployments: list[_Deployment] = []


def problem(entry: dict[str, Any]) -> str | None:
    """What Serve would refuse in this entry, in one line, or None."""
    try:
        _Application.model_validate(entry)
    except ValidationError as error:
        return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return None
