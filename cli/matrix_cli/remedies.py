"""What to do about a reason: a literal table. "" where nothing needs doing but to wait."""

from __future__ import annotations

from matrix_crds.keys import ObjectKey

_REMEDIES: dict[str, str] = {
    "InvalidSpec": "correct the manifest and run `matrix apply FILE`",
    "NotSupported": "take the field out of the manifest and run `matrix apply FILE`",
    "NameTaken": "choose another name, or delete the one that has it",
    "InsufficientResources": "ask for less in the manifest, or stop something that runs here, then `matrix apply FILE`",
    "ImagePullFailed": "correct the image (spec.backend.kubernetes.image, or the operator's own), or let the machines pull it",
    "SecretMissing": "create what the message names; it goes on by itself",
    "RayVersionMismatch": "set spec.ray.version to the installed version (`matrix --version`), or install the one asked for",
    "RuntimeTooOld": "recreate the cluster, so that it runs this version: `matrix down {object}`, then `matrix up FILE`",
    "PortTaken": "end the program that has the port, or choose another",
    "Suspended": "set spec.suspend to false and run `matrix apply FILE`",
    "DeletionStuck": "follow what the message says; `matrix logs controller` tells more",
    "StartFailed": "read the lines above and `matrix logs {object}`; it is tried again by itself",
    "BackendUnreachable": "nothing is torn down meanwhile; look at `matrix logs controller`",
    "DashboardUnreachable": "nothing is torn down meanwhile; look at `matrix logs {object} --component dashboard`",
    "ClusterNotFound": "create the cluster with `matrix up FILE`, or correct spec.clusterRef.name",
    "RejectedByServe": "correct what Ray Serve refuses, then `matrix apply FILE`",
    "Unschedulable": "ask for less in spec.resources, or give the cluster more; where a claim is named, make or bind that",
    "ModelNotFound": "correct spec.model.source, then `matrix apply FILE`",
    "BadArguments": "correct spec.engine, then `matrix apply FILE`",
    "OutOfMemory": "give the replica more memory, or a smaller spec.engine.vllm.maxModelLength, then `matrix apply FILE`",
    "ScaledToZero": "set spec.replicas to 1 or more, then `matrix apply FILE`",
    "GatewayNotReady": "models answer at their own ports meanwhile; if it lasts, `matrix logs {object}` tells more",
    "TemplateChanged": "take the change by making the cluster anew, which stops its models for a while: `matrix rollout restart {object}`",
    "InternalError": "this is a fault of Matrix: `matrix logs controller` has the trace; please report it",
}


def remedy_for(key: ObjectKey, reason: str) -> str:
    """What to do about `reason` of the object, or "" when it is on its way by itself."""
    return _REMEDIES.get(reason, "").replace("{object}", str(key))
