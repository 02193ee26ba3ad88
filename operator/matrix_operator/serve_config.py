"""The Serve configuration of a cluster: a pure function of all objects that target it.

A PUT replaces the whole set of applications, so every entry is rendered each time: mx-system, one mx-md-<name> for each model, and
whatever a foreign hand deployed by configuration, unchanged. No secret is in it, only the directory where the runtime finds them.

What is live and what rolls (read off ray 2.60): an identical PUT and a change of `user_config` or `num_replicas` are live; a change of
`import_path`, `runtime_env`, `args` or `ray_actor_options` starts every replica of the application anew. docs/architecture.md has the
fields of the spec on either side.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from matrix_crds import quantity
from matrix_crds.cluster import Resources
from matrix_crds.deployment import ModelDeployment
from matrix_operator.backends.port import RuntimeLayout
from matrix_proto.state import APPLICATION_PREFIX

SYSTEM_APPLICATION = "mx-system"
OWN_PREFIX = "mx-"

SYSTEM_BUILDER = "matrix_runtime.system.app:build"
MODEL_BUILDER = "matrix_runtime.serving.app:build"
REPLICA_DEPLOYMENT = "Replica"
GATEWAY_DEPLOYMENT = "Gateway"
DIRECTORY_DEPLOYMENT = "Directory"

HEALTH_PERIOD_SECONDS = 2.0
HEALTH_TIMEOUT_SECONDS = 30.0
DRAIN_MARGIN_SECONDS = 15.0  # over drainSeconds, for the engine to stop
MAX_ONGOING_REQUESTS = 100_000  # requests don't pass through Serve; its limit must not matter

Entry = dict[str, Any]


@dataclass(frozen=True)
class SystemStart:
    """A start of the directory that mx-system asks for: the how-manieth in a row, and since when. It is in mx-system itself, so that it
    outlives the operator; of the first start is not known when it was."""

    attempt: int = 1
    since: datetime | None = None


def application_name(deployment: ModelDeployment) -> str:
    """The Serve application of a ModelDeployment."""
    return APPLICATION_PREFIX + deployment.metadata.name


def system_entry(
    layout: RuntimeLayout, serving: Iterable[ModelDeployment], held: Iterable[Entry] = (), start: SystemStart = SystemStart()
) -> Entry:
    """mx-system: always there, pinned to the head. The gateway is told live which models there are, whether or not one is up; `held`
    are those of former times that stay as they are (see gateway_models). Another `start` starts the directory again, and it alone."""
    models = sorted([*map(_served_model, serving), *held], key=lambda model: str(model["name"]))
    asked = {"attempt": start.attempt, "since": _moment(start.since)}
    directory = [{"name": DIRECTORY_DEPLOYMENT, "user_config": asked}] if start.since else []
    return {
        "name": SYSTEM_APPLICATION,
        "route_prefix": None,
        "import_path": SYSTEM_BUILDER,
        "args": {
            "bindHost": layout.bind_host,
            "statePort": layout.state_port,
            "stateUrl": layout.state_url,
            "directoryPort": layout.directory_port,
            "gatewayPort": layout.gateway_port,
            "secretsDir": layout.secrets_dir,
        },
        "deployments": [{"name": GATEWAY_DEPLOYMENT, "user_config": {"models": models}}, *directory],
    }


def model_entry(deployment: ModelDeployment, layout: RuntimeLayout) -> Entry:
    """The application of a model, with `attempt` in its user_config: raising it starts again what Serve has given up on."""
    spec = deployment.spec
    allocation = deployment.status.allocation
    return {
        "name": application_name(deployment),
        "route_prefix": None,
        "import_path": MODEL_BUILDER,
        "args": _rolling_arguments(deployment, layout) | {"version": version_of(deployment, layout)},
        "deployments": [
            {
                "name": REPLICA_DEPLOYMENT,
                "num_replicas": spec.replicas,
                "max_ongoing_requests": MAX_ONGOING_REQUESTS,
                "user_config": {"attempt": allocation.attempt if allocation else 1, "drainSeconds": spec.drain_seconds},
                "ray_actor_options": actor_options(spec.resources),
                "graceful_shutdown_wait_loop_s": 0.1,
                "graceful_shutdown_timeout_s": spec.drain_seconds + DRAIN_MARGIN_SECONDS,
                "health_check_period_s": HEALTH_PERIOD_SECONDS,
                "health_check_timeout_s": HEALTH_TIMEOUT_SECONDS,
                "max_surge_percent": spec.rollout.surge_percent,
            }
        ],
    }


def version_of(deployment: ModelDeployment, layout: RuntimeLayout) -> str:
    """A hash of all that starts the replicas anew when it changes: each replica reports the one that it was started with."""
    return entry_hash({"args": _rolling_arguments(deployment, layout), "restartedAt": _moment(restarted_at(deployment))})


def restarted_at(deployment: ModelDeployment) -> datetime | None:
    """The restart that was asked for last; one that a manifest no longer has is remembered, so that its absence restarts nothing."""
    allocation = deployment.status.allocation
    return deployment.spec.rollout.restarted_at or (allocation.restarted_at if allocation else None)


def _rolling_arguments(deployment: ModelDeployment, layout: RuntimeLayout) -> Entry:
    """The arguments of a replica, the version apart. What Ray reserves for it follows from `resources`."""
    spec = deployment.spec
    # Left out where there is none: a new argument, even an empty one, would start all replicas anew.
    credentials = {"credentialsDir": layout.credentials_dir} if layout.credentials_dir else {}
    return credentials | {
        "deployment": deployment.metadata.name,
        "servedName": deployment.served_name,
        "source": spec.model.source or "",
        "engine": spec.engine.to_wire(),
        "resources": spec.resources.to_wire(),
        "stateUrl": layout.state_url,
        "bindHost": layout.bind_host,
        "secretsDir": layout.secrets_dir,
        "modelCacheDir": layout.model_cache_dir,
    }


def _served_model(deployment: ModelDeployment) -> Entry:
    """What the gateway is told of a model."""
    return {
        "name": deployment.served_name,
        "application": application_name(deployment),
        "policy": deployment.spec.routing.policy.value,
        "replicas": deployment.spec.replicas,
    }


def _moment(time: datetime | None) -> str | None:
    """The same text for the same moment, whatever the zone that it was written in."""
    return time.astimezone(UTC).isoformat() if time else None


def gateway_models(system: Entry | None) -> list[Entry]:
    """The models that an accepted mx-system told its gateway of."""
    return list(_user_config(system, GATEWAY_DEPLOYMENT).get("models", []))


def name_holders(system: Entry | None) -> dict[str, str]:
    """The application that each served name leads to by an accepted mx-system."""
    return {str(model["name"]): str(model["application"]) for model in gateway_models(system)}


def system_start(system: Entry | None) -> SystemStart:
    """Which start of the directory an accepted mx-system asks for."""
    asked = _user_config(system, DIRECTORY_DEPLOYMENT)
    return SystemStart(int(asked["attempt"]), datetime.fromisoformat(asked["since"])) if asked.get("since") else SystemStart()


def _user_config(system: Entry | None, deployment: str) -> Entry:
    deployments = (system or {}).get("deployments") or []
    return next((item.get("user_config") or {} for item in deployments if item["name"] == deployment), {})


def actor_options(resources: Resources) -> dict[str, Any]:
    """What Ray reserves for a replica: ceil(cpu) CPUs, bytes of memory, whole GPUs."""
    options: dict[str, Any] = {"num_cpus": float(quantity.whole(resources.cpu)), "memory": float(quantity.whole(resources.memory))}
    if resources.gpu:
        options["num_gpus"] = float(resources.gpu)
    return options


def serve_config(entries: Iterable[Entry]) -> dict[str, Any]:
    """The body of the PUT. Serve's own proxies answer anyone, so they stay off."""
    return {"proxy_location": "Disabled", "applications": sorted(entries, key=lambda entry: str(entry["name"]))}


def foreign_entries(deployed: Mapping[str, Entry | None]) -> list[Entry]:
    """The applications that are not ours and that a PUT without them would remove. `deployed`: name -> accepted entry."""
    return [entry for name, entry in deployed.items() if not name.startswith(OWN_PREFIX) and entry is not None]


def entry_hash(entry: Entry) -> str:
    """A short hash of an entry's content."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]
