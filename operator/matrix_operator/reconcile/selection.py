"""Which deployments of a cluster get a Serve application, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from matrix_crds.deployment import ModelDeployment
from matrix_crds.keys import ObjectKey
from matrix_crds.reasons import DeploymentReason
from matrix_operator.serve_config import application_name
from matrix_proto.state import APPLICATION_PREFIX

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Refusal:
    """Why what a deployment asks for is not served: waits for the user. What runs of it stays."""

    reason: DeploymentReason
    message: str


@dataclass(frozen=True)
class Selection:
    serving: tuple[ModelDeployment, ...]
    refused: dict[ObjectKey, Refusal]


def select(deployments: Iterable[ModelDeployment], holders: Mapping[str, str], staying: frozenset[str]) -> Selection:
    """Of two deployments with one served name that serves which has it already, then the older, then the first by name. `holders`: the
    applications that the served names lead to now; none while Serve can't be asked. `staying`: those that stay as they are, whatever is
    declared. They keep their names, and so do those that are refused here, which may refuse others."""
    ranked = sorted(deployments, key=lambda each: _claim(each, holders))
    while True:
        selection = _select(ranked, {name: application for name, application in holders.items() if application in staying})
        refused = frozenset(APPLICATION_PREFIX + key.name for key in selection.refused)
        if refused <= staying:
            return selection
        staying |= refused


def _select(ranked: Iterable[ModelDeployment], kept: Mapping[str, str]) -> Selection:
    """One pass, the best claim first. `kept`: names that are not to be had, and the applications that have them."""
    owners = dict(kept)
    refused: dict[ObjectKey, Refusal] = {}
    serving: list[ModelDeployment] = []
    for deployment in ranked:
        refusal = unsupported(deployment) or _name_taken(deployment, owners)
        if refusal:
            refused[deployment.key] = refusal
            continue
        owners[deployment.served_name] = application_name(deployment)
        serving.append(deployment)
    return Selection(tuple(serving), refused)


def unsupported(deployment: ModelDeployment) -> Refusal | None:
    """What is valid in a manifest and not built in this version, or None."""
    spec = deployment.spec
    missing = (
        (spec.engine.external is not None, "engine.external", "use engine.vllm"),
        (spec.autoscale is not None, "autoscale", "set spec.replicas instead"),
        (spec.model.adapters is not None, "model.adapters", "deploy the merged model instead"),
    )
    for used, field, instead in missing:
        if used:
            return Refusal(DeploymentReason.NOT_SUPPORTED, f"spec.{field} is not supported by this version; {instead}")
    return None


def _name_taken(deployment: ModelDeployment, owners: Mapping[str, str]) -> Refusal | None:
    owner = owners.get(deployment.served_name, application_name(deployment))
    if owner == application_name(deployment):
        return None
    key = deployment.key._replace(name=owner.removeprefix(APPLICATION_PREFIX))
    message = f"the name {deployment.served_name!r} is served by {key} already; set another spec.model.servedName, or delete one of the two"
    return Refusal(DeploymentReason.NAME_TAKEN, message)


def _claim(deployment: ModelDeployment, holders: Mapping[str, str]) -> tuple[bool, bool, datetime, str]:
    """The better one is less. Where nobody is known to have the name, it is who answered under it when last seen. Who was refused the name
    stays behind who has it, also when Serve has lost what it knew."""
    name, status = deployment.served_name, deployment.status
    answered = status.model == name and bool(status.endpoints)
    holds = holders[name] == application_name(deployment) if name in holders else answered
    waits = any(condition.reason == DeploymentReason.NAME_TAKEN for condition in status.conditions)
    return not holds, waits, deployment.metadata.creation_timestamp or _NEVER, deployment.metadata.name
