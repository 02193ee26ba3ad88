"""Valid manifests that, together, use every field of every kind: what mutants are made of, and what a full stored object is."""

from __future__ import annotations

from typing import Any

from matrix_crds.constants import API_VERSION

Raw = dict[str, Any]


def manifest(kind: str, name: str, spec: Raw, **metadata: Any) -> Raw:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name} | metadata, "spec": spec}


CLUSTERS = (
    manifest(
        "MatrixCluster",
        "full",
        {
            "backend": {"kubernetes": {"image": "registry.example.org/matrix:1", "serviceAccountName": "workers"}},
            "ray": {"version": "2.60.0"},
            "head": {"resources": {"cpu": 4, "memory": "8Gi", "gpu": 1}},
            "workerGroups": [
                {
                    "name": "gpu",
                    "replicas": 4,
                    "resources": {"cpu": "500m", "memory": 8589934592, "gpu": 8},
                    "accelerator": "H100",
                    "rayResources": {"sandbox-slots": 8, "half": 0.5},
                    "kubernetes": {"template": {"spec": {"nodeSelector": {"disk": "fast"}, "priority": 3}}},
                    "slurm": {"partition": "gpu", "qos": "high", "constraint": "a|b", "timeLimitSeconds": 3600},
                },
                {"name": "burst", "autoscale": {"min": 1, "max": 16, "idleTimeoutSeconds": 60}},
            ],
            "storage": {"uri": "s3://bucket/lab"},
            "modelCache": {"emptyDir": {"sizeLimit": "50Gi"}},
            "upgradePolicy": {"type": "Recreate", "restartedAt": "2026-01-31T12:00:00Z"},
            "suspend": True,
            "deletionPolicy": "Orphan",
        },
        labels={"team": "vision"},
        annotations={"example.org/why": "a test"},
    ),
    manifest(
        "MatrixCluster",
        "queued",
        {
            "backend": {"kubernetes": {"queueName": "team"}},
            "storage": {"persistentVolumeClaim": {"claimName": "results", "path": "lab/one"}},
            "modelCache": {"hostPath": {"path": "/data/models"}},
        },
    ),
    manifest(
        "MatrixCluster",
        "batch",
        {
            "backend": {"slurm": {"site": "fair", "profile": "gpu"}},
            "workerGroups": [{"name": "a", "replicas": 0}],
            "modelCache": {"persistentVolumeClaim": {"claimName": "models", "path": "cache"}},
        },
    ),
    manifest("MatrixCluster", "here", {"backend": {"local": {}}, "storage": {"uri": "file:///data/results"}}),
    manifest("MatrixCluster", "bare", {}),
)
DEPLOYMENTS = (
    manifest(
        "ModelDeployment",
        "chat",
        {
            "clusterRef": {"name": "full"},
            "model": {
                "source": "hf://Qwen/Qwen3-8B@main",
                "servedName": "qwen3-8b",
                "adapters": {"maxLoaded": 4, "maxRank": 16, "items": [{"name": "sql", "source": "hf://org/sql-lora"}]},
            },
            "engine": {
                "vllm": {
                    "dtype": "BFloat16",
                    "maxModelLength": 8192,
                    "tensorParallel": 2,
                    "pipelineParallel": 2,
                    "args": ["--block-size", "32"],
                }
            },
            "resources": {"cpu": "2.5", "memory": "16Gi", "gpu": 4},
            "replicas": 2,
            "autoscale": {
                "min": 1,
                "max": 16,
                "targetOngoingRequests": 32,
                "upscaleDelaySeconds": 10,
                "downscaleDelaySeconds": 300,
            },
            "routing": {"policy": "Prefix"},
            "rollout": {"surgePercent": 100, "restartedAt": "2026-01-31T12:00:00.5+01:00"},
            "drainSeconds": 60,
        },
    ),
    manifest(
        "ModelDeployment",
        "remote",
        {
            "clusterRef": {"name": "full"},
            "engine": {
                "external": {
                    "provider": "OpenAI",
                    "model": "gpt-4.1-mini",
                    "baseUrl": "https://api.example.org/v1",
                    "apiKey": {"secretKeyRef": {"name": "lab-keys", "key": "openai"}},
                    "maxRequestsPerMinute": 100,
                }
            },
        },
    ),
    manifest(
        "ModelDeployment",
        "parrot",
        {
            "clusterRef": {"name": "here"},
            "engine": {"dummy": {"tokensPerSecond": 100, "firstTokenSeconds": "0.05", "failureRate": "0.01", "seed": 7}},
        },
    ),
)
ALL = CLUSTERS + DEPLOYMENTS
