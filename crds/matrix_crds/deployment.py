"""ModelDeployment: a model that answers on a MatrixCluster."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from matrix_crds.base import LenientModel, LocalReference, Model, Name, Resource, Status
from matrix_crds.cluster import Resources

Source = Annotated[str, Field(pattern=r"^(hf://[^/\s]+/[^/\s]+|file:///\S+|package://[A-Za-z_][A-Za-z0-9_.]*(/\S+)?)$", max_length=1024)]
"""hf://org/name[@revision] | file:///directory | package://import_name/path (a model inside an installed package)."""
DecimalText = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$", max_length=20)]


class Adapter(Model):
    name: Name
    source: Source


class Adapters(Model):
    """LoRA adapters; `maxLoaded` and `maxRank` are fixed when the engine starts."""

    max_loaded: Annotated[int, Field(ge=1, le=256)] = 4
    max_rank: Annotated[int, Field(ge=1, le=512)] = 16
    items: Annotated[tuple[Adapter, ...], Field(max_length=256)] = ()


class ModelSource(Model):
    source: Source
    served_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][-A-Za-z0-9_./:]*$", max_length=128)] | None = None
    """The name that requests use; default: the deployment's own name."""
    adapters: Adapters | None = None


class DataType(StrEnum):
    AUTO = "Auto"
    BFLOAT16 = "BFloat16"
    FLOAT16 = "Float16"
    FLOAT32 = "Float32"


class VllmEngine(Model):
    """vLLM. `args` go to its own parser, after those that the other fields become."""

    dtype: DataType = DataType.AUTO
    max_model_length: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    tensor_parallel: Annotated[int, Field(ge=1, le=64)] = 1
    pipeline_parallel: Annotated[int, Field(ge=1, le=64)] = 1
    args: Annotated[tuple[Annotated[str, Field(max_length=1024)], ...], Field(max_length=128)] = ()


class SecretKeySelector(Model):
    name: Name
    key: Annotated[str, Field(min_length=1, max_length=253)]


class SecretKeySource(Model):
    secret_key_ref: SecretKeySelector


class ExternalProvider(StrEnum):
    OPENAI = "OpenAI"
    ANTHROPIC = "Anthropic"
    GEMINI = "Gemini"
    AZURE_OPENAI = "AzureOpenAI"
    BEDROCK = "Bedrock"


class ExternalEngine(Model):
    """A provider's API behind the same name."""

    provider: ExternalProvider
    model: Annotated[str, Field(min_length=1, max_length=253)]
    base_url: Annotated[str, Field(pattern=r"^https?://\S+$", max_length=1024)] | None = None
    api_key: SecretKeySource
    max_requests_per_minute: Annotated[int, Field(ge=1, le=10_000_000)] | None = None


class DummyEngine(Model):
    """A test engine: deterministic text, at a chosen speed, failing at a chosen rate. No model is loaded."""

    tokens_per_second: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    first_token_seconds: DecimalText = "0.02"
    failure_rate: DecimalText = "0"
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = 1


class Engine(Model):
    """Exactly one."""

    vllm: VllmEngine | None = None
    external: ExternalEngine | None = None
    dummy: DummyEngine | None = None


class DeploymentAutoscale(Model):
    min: Annotated[int, Field(ge=0, le=10_000)] = 0
    max: Annotated[int, Field(ge=1, le=10_000)]
    target_ongoing_requests: Annotated[int, Field(ge=1, le=100_000)] = 32
    upscale_delay_seconds: Annotated[int, Field(ge=0, le=86_400)] = 10
    downscale_delay_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300


class RoutingPolicy(StrEnum):
    PREFIX = "Prefix"
    LEAST_LOADED = "LeastLoaded"
    ROUND_ROBIN = "RoundRobin"


class Routing(Model):
    policy: RoutingPolicy = RoutingPolicy.LEAST_LOADED


class Rollout(Model):
    surge_percent: Annotated[int, Field(ge=0, le=100)] = 0
    """100: the new replica comes up beside the old one. 0: drain, then load (no second set of GPUs)."""


class ModelDeploymentSpec(Model):
    cluster_ref: LocalReference
    model: ModelSource
    engine: Engine
    resources: Resources = Resources()
    """Per replica."""
    replicas: Annotated[int, Field(ge=0, le=10_000)] = 1
    """Not used while `autoscale` is set."""
    autoscale: DeploymentAutoscale | None = None
    routing: Routing = Routing()
    rollout: Rollout = Rollout()
    drain_seconds: Annotated[int, Field(ge=0, le=86_400)] = 120


class Replicas(LenientModel):
    desired: int = 0
    ready: int = 0
    starting: int = 0
    failing: int = 0
    display: str = ""


class DeploymentAllocation(LenientModel):
    """What must be remembered to start again what Serve has given up on (its failed start is terminal)."""

    attempt: int = 1
    failures: int = 0
    """Attempts that Serve gave up on since the spec changed or a replica was ready: the backoff's exponent."""
    retry_at: datetime | None = None


class ModelDeploymentStatus(Status):
    ready_replicas: int = 0
    replicas: Replicas = Replicas()
    model: str = ""
    allocation: DeploymentAllocation | None = None


class DeploymentCondition(StrEnum):
    READY = "Ready"
    CLUSTER_READY = "ClusterReady"
    REPLICAS_READY = "ReplicasReady"
    UP_TO_DATE = "UpToDate"


class ModelDeployment(Resource):
    """A model, declared."""

    kind: Literal["ModelDeployment"] = "ModelDeployment"
    spec: ModelDeploymentSpec
    status: ModelDeploymentStatus = ModelDeploymentStatus()

    @property
    def served_name(self) -> str:
        """The name that requests use."""
        return self.spec.model.served_name or self.metadata.name
