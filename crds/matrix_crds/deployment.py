"""ModelDeployment: a model that answers on a MatrixCluster."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from matrix_crds import patterns
from matrix_crds.base import LenientModel, LocalReference, Model, Name, Resource, Status, list_map
from matrix_crds.cluster import ObjectName, Resources
from matrix_crds.reasons import Documented
from matrix_crds.rules import Immutable, Rule, exactly_one, ordered, unique_names
from matrix_crds.times import Time

Source = Annotated[str, Field(pattern=patterns.MODEL_SOURCE.regex, max_length=1024)]
"""hf://org/name[@revision] | file:///directory | package://import_name/path (a model inside an installed package)."""
Decimal = Annotated[str, Field(pattern=patterns.DECIMAL.regex, max_length=20)]
Fraction = Annotated[str, Field(pattern=patterns.FRACTION.regex, max_length=20)]
ModelName = Annotated[str, Field(min_length=1, max_length=253)]


class Adapter(Model):
    """A LoRA adapter."""

    name: Name
    """The name that requests use for the model with this adapter."""
    source: Source
    """Where it comes from, as of a model."""


class Adapters(Model):
    """LoRA adapters; `maxLoaded` and `maxRank` are fixed when the engine starts."""

    rules: ClassVar[tuple[Rule, ...]] = (unique_names("items", example="items: [{name: sql, source: hf://org/sql-lora}]"),)

    max_loaded: Annotated[int, Field(ge=1, le=256)] = 4
    """How many a replica holds at once."""
    max_rank: Annotated[int, Field(ge=1, le=512)] = 16
    """The highest rank of any of them."""
    items: tuple[Adapter, ...] = Field(default=(), max_length=256, json_schema_extra=list_map("name"))
    """The adapters; changing them restarts nothing."""


class ModelSource(Model):
    """Which model, and under which name."""

    source: Source | None = None
    """hf://org/name[@revision], file:///directory, or package://import_name/path (a model inside an installed Python package).
    Needed by the engine vllm."""
    served_name: Annotated[str, Field(pattern=patterns.SERVED_NAME.regex, max_length=128)] | None = None
    """The name that requests use; default: the deployment's own name."""
    adapters: Adapters | None = None
    """LoRA adapters that are served beside the model. Engine vllm only."""


class DataType(StrEnum):
    AUTO = "Auto"
    BFLOAT16 = "BFloat16"
    FLOAT16 = "Float16"
    FLOAT32 = "Float32"


class VllmEngine(Model):
    """vLLM. `args` go to its own parser, after those that the other fields become."""

    dtype: DataType = DataType.AUTO
    """The type of weights and activations; Auto takes the model's own."""
    max_model_length: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Tokens of prompt and answer together; default: what the model can do."""
    tensor_parallel: Annotated[int, Field(ge=1, le=64)] = 1
    """Over how many GPUs each layer is split."""
    pipeline_parallel: Annotated[int, Field(ge=1, le=64)] = 1
    """Into how many stages the layers are split."""
    args: tuple[Annotated[str, Field(max_length=1024)], ...] = Field(
        default=(), max_length=128, examples=[["--enable-prefix-caching", "--block-size", "32"]]
    )
    """Further arguments of `vllm serve`, one entry per word."""


class SecretKeySelector(Model):
    """A key of a Secret."""

    name: ObjectName
    """The Secret's name."""
    key: Annotated[str, Field(pattern=patterns.SECRET_KEY.regex, max_length=253)]
    """The key inside it."""


class SecretKeySource(Model):
    """Where a secret value comes from."""

    secret_key_ref: SecretKeySelector
    """A key of a Secret of the same namespace."""


class ExternalProvider(StrEnum):
    OPENAI = "OpenAI"
    ANTHROPIC = "Anthropic"
    GEMINI = "Gemini"
    AZURE_OPENAI = "AzureOpenAI"
    BEDROCK = "Bedrock"


class ExternalEngine(Model):
    """A provider's API behind the same name."""

    provider: ExternalProvider
    """Whose API it is."""
    model: Annotated[ModelName, Field(examples=["gpt-4.1-mini"])]
    """The provider's name of the model."""
    base_url: Annotated[str, Field(pattern=patterns.HTTP_URL.regex, max_length=1024)] | None = None
    """Where the API is; default: the provider's own address."""
    api_key: Annotated[SecretKeySource, Field(examples=[{"secretKeyRef": {"name": "lab-keys", "key": "openai"}}])]
    """The key to it."""
    max_requests_per_minute: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """The most that is sent; default: no limit of ours."""


class DummyEngine(Model):
    """A test engine: deterministic text, at a chosen speed, failing at a chosen rate. No model is loaded."""

    tokens_per_second: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Of one answer."""
    first_token_seconds: Decimal = "0.02"
    """Until the first token comes."""
    failure_rate: Fraction = "0"
    """Which part of the requests fails, from 0 to 1."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = 1
    """Of the text and of the failures."""


class Engine(Model):
    """What runs the model."""

    rules: ClassVar[tuple[Rule, ...]] = (exactly_one("one-engine", "vllm", "external", "dummy", example="engine: {vllm: {}}"),)

    vllm: VllmEngine | None = None
    """vLLM, on GPUs or CPUs."""
    external: ExternalEngine | None = None
    """A provider's API."""
    dummy: DummyEngine | None = None
    """A test engine without a model."""


class DeploymentAutoscale(Model):
    """How many replicas, by demand."""

    rules: ClassVar[tuple[Rule, ...]] = (ordered("min", "max", example="autoscale: {min: 0, max: 16}"),)

    min: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Replicas that stay without demand."""
    max: Annotated[int, Field(ge=1, le=10_000, examples=[16])]
    """Replicas at the highest demand."""
    target_ongoing_requests: Annotated[int, Field(ge=1, le=100_000)] = 32
    """Requests, waiting and in flight, for which one replica is meant."""
    upscale_delay_seconds: Annotated[int, Field(ge=0, le=86_400)] = 10
    """How long demand is higher before a replica is added."""
    downscale_delay_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300
    """How long demand is lower before a replica goes."""


class RoutingPolicy(StrEnum):
    PREFIX = "Prefix"
    LEAST_LOADED = "LeastLoaded"
    ROUND_ROBIN = "RoundRobin"


class Routing(Model):
    """Which replica gets a request."""

    policy: RoutingPolicy = RoutingPolicy.LEAST_LOADED
    """Prefix: the one that has seen the beginning of the prompt. LeastLoaded: the one with fewest requests. RoundRobin: each in turn."""


class Rollout(Model):
    """How replicas are replaced."""

    surge_percent: Annotated[int, Field(ge=0, le=100)] = 0
    """100: the new replica comes up beside the old one. 0: drain, then load (no second set of GPUs)."""
    restarted_at: Time | None = Field(default=None, examples=[patterns.TIME.example])
    """Another time than before starts all replicas anew, one after the other; set by `matrix rollout restart`."""


def _gpus_match(spec: ModelDeploymentSpec) -> bool:
    engine = spec.engine.vllm
    return engine is None or engine.tensor_parallel * engine.pipeline_parallel == max(spec.resources.gpu, 1)


class ModelDeploymentSpec(Model):
    """What is wanted."""

    immutable: ClassVar[tuple[Immutable, ...]] = (
        Immutable("clusterRef", "a deployment can't move to another cluster; give it as it was, or delete the deployment and make it anew"),
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="vllm-source",
            path=("model",),
            cel="!has(self.engine.vllm) || has(self.model.source)",
            holds=lambda spec: spec.engine.vllm is None or spec.model.source is not None,
            message="the engine vllm needs a model; give model.source",
            example="model: {source: hf://Qwen/Qwen3-8B}",
        ),
        Rule(
            name="external-source",
            path=("model",),
            cel="!(has(self.engine.external) && has(self.model.source))",
            holds=lambda spec: spec.engine.external is None or spec.model.source is None,
            message="the model of an external engine is engine.external.model; remove model.source",
            example="model: {servedName: gpt}",
        ),
        Rule(
            name="adapters-engine",
            path=("model",),
            cel="!has(self.model.adapters) || has(self.engine.vllm)",
            holds=lambda spec: spec.model.adapters is None or spec.engine.vllm is not None,
            message="only the engine vllm has adapters; remove model.adapters",
            example="engine: {vllm: {}}",
        ),
        Rule(
            name="gpu-parallel",
            path=("resources",),
            cel="!has(self.engine.vllm) || self.engine.vllm.tensorParallel * self.engine.vllm.pipelineParallel"
            " == (self.resources.gpu > 0 ? self.resources.gpu : 1)",
            holds=_gpus_match,
            message="gpu must equal tensorParallel x pipelineParallel of engine.vllm (both 1 on CPUs); change one of them",
            example="resources: {gpu: 2} with engine: {vllm: {tensorParallel: 2}}",
        ),
    )

    cluster_ref: Annotated[LocalReference, Field(examples=[{"name": "lab"}])]
    """The MatrixCluster on which it runs. Can't be changed after creation."""
    model: ModelSource = Field(default_factory=ModelSource)
    """Which model, and under which name."""
    engine: Annotated[Engine, Field(examples=[{"vllm": {}}])]
    """What runs the model: exactly one of vllm, external, dummy."""
    resources: Resources = Field(default_factory=Resources)
    """What each replica gets."""
    replicas: Annotated[int, Field(ge=0, le=10_000)] = 1
    """How many replicas; not used while `autoscale` is set."""
    autoscale: DeploymentAutoscale | None = None
    """How many replicas, by demand."""
    routing: Routing = Field(default_factory=Routing)
    """Which replica gets a request that comes through the gateway. `Matrix` itself takes the less loaded of two."""
    rollout: Rollout = Field(default_factory=Rollout)
    """How replicas are replaced."""
    drain_seconds: Annotated[int, Field(ge=0, le=86_400)] = 120
    """How long a replica that must go may finish its requests."""


class Replicas(LenientModel):
    """How many replicas there are, by state."""

    desired: int = 0
    """How many there should be."""
    ready: int = 0
    """Those that answer."""
    starting: int = 0
    """Those on their way up."""
    failing: int = 0
    """Those that do not come up."""
    updated: int = 0
    """Those that answer and run what the spec says."""
    display: str = ""
    """ready/desired, for a table."""


class DeploymentAllocation(LenientModel):
    """What must be remembered between starts: above all to start again what Serve has given up on (its failed start is terminal)."""

    attempt: int = 1
    """The how-manieth start this is."""
    failures: int = 0
    """Attempts that Serve gave up on since the spec changed or a replica was ready: the backoff's exponent."""
    retry_at: datetime | None = None
    """When the next one comes."""
    restarted_at: datetime | None = None
    """The last `rollout.restartedAt`: a manifest that does not have it restarts nothing."""


class ModelDeploymentStatus(Status):
    """What is."""

    ready_replicas: int = 0
    """Those that answer, for the scale subresource."""
    replicas: Replicas = Field(default_factory=Replicas)
    """How many replicas there are, by state."""
    model: str = ""
    """The name that requests use."""
    allocation: DeploymentAllocation | None = None
    """What must be remembered between starts."""


class DeploymentCondition(Documented):
    """The conditions of a ModelDeployment."""

    READY = "Ready", "Requests are answered: the other conditions hold"
    CLUSTER_READY = "ClusterReady", "The cluster that it runs on is there and answers"
    REPLICAS_READY = "ReplicasReady", "All wanted replicas answer"
    UP_TO_DATE = "UpToDate", "The replicas run what the spec says"


class ModelDeployment(Resource):
    """A model that answers requests, on a MatrixCluster of the same namespace."""

    kind: Literal["ModelDeployment"] = "ModelDeployment"
    spec: ModelDeploymentSpec
    """What is wanted."""
    status: ModelDeploymentStatus = Field(default_factory=ModelDeploymentStatus)
    """What is; written by the controller."""

    @property
    def served_name(self) -> str:
        """The name that requests use."""
        return self.spec.model.served_name or self.metadata.name
