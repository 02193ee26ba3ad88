"""The specs of the golden files."""

from __future__ import annotations

from typing import Any

GPU = {
    "name": "gpu",
    "replicas": 4,
    "resources": {"cpu": "31500m", "memory": "200Gi", "gpu": 8},
    "accelerator": "H100",
    "rayResources": {"sandbox-slots": 8},
}
TEMPLATE = {
    "metadata": {"labels": {"env": "prod", "matrix.dev/uid": "another"}, "annotations": {"note": "fast"}, "name": "mine"},
    "spec": {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "containers": [
            {
                "name": "ray-worker",
                "env": [{"name": "RAY_worker_niceness", "value": "5"}, {"name": "HF_HUB_OFFLINE", "value": "1"}],
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
            },
            {"name": "sidecar", "image": "example.org/sidecar:1"},
        ],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 600,
    },
}

SPECS: dict[str, dict[str, Any]] = {
    "minimal": {},
    "gpu": {"head": {"resources": {"cpu": 4, "memory": "8Gi"}}, "workerGroups": [GPU]},
    "autoscale": {
        "workerGroups": [
            {"name": "burst", "autoscale": {"min": 1, "max": 16}, "resources": {"cpu": 16, "memory": "64Gi"}},
            {"name": "slow", "autoscale": {"min": 0, "max": 2, "idleTimeoutSeconds": 900}},
            {"name": "fixed", "replicas": 2},
        ]
    },
    "kueue": {
        "backend": {"kubernetes": {"queueName": "research", "serviceAccountName": "trainer", "image": "example.org/own:3"}},
        "workerGroups": [{"name": "w"}],
        "deletionPolicy": "Orphan",
    },
    "volumes": {
        "storage": {"persistentVolumeClaim": {"claimName": "results", "path": "/lab/run-1/"}},
        "modelCache": {"persistentVolumeClaim": {"claimName": "models"}},
        "workerGroups": [{"name": "w"}],
        "suspend": True,
    },
    "host-path": {"modelCache": {"hostPath": {"path": "/data/models"}}},
    "empty-dir": {"modelCache": {"emptyDir": {"sizeLimit": "50Gi"}}},
    "template": {"workerGroups": [{"name": "w", "kubernetes": {"template": TEMPLATE}}]},
}
