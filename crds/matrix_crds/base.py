"""What every kind is made of: the base model, metadata, conditions, and the identity of an object.

Python attributes are snake_case, the wire (YAML, JSON, the API server) is camelCase; constructors accept both, manifests only camelCase.
Specs refuse unknown fields. Metadata and status are lenient: an API server, or a newer controller, may add to them.
A docstring below a field is its description in the CRD and in docs/resources.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from matrix_crds import patterns
from matrix_crds.constants import API_VERSION, DEFAULT_NAMESPACE
from matrix_crds.keys import ObjectKey
from matrix_crds.rules import Immutable, Rule

Name = Annotated[str, Field(pattern=patterns.NAME.regex, max_length=40)]
"""A DNS-1035 label of at most 40 characters, so that names derived from it still fit into 63."""
Namespace = Annotated[str, Field(pattern=patterns.NAMESPACE.regex, max_length=63)]
_DOMAIN_LENGTH = 253
_ANNOTATION_BYTES = 256 * 1024


def _with_a_short_domain(key: str) -> str:
    if len(key.rpartition("/")[0]) > _DOMAIN_LENGTH:
        raise PydanticCustomError("domain_too_long", "{words}", {"words": f"must have at most {_DOMAIN_LENGTH} characters before its '/'"})
    return key


def _not_too_large(annotations: dict[str, str]) -> dict[str, str]:
    size = sum(len(text.encode()) for entry in annotations.items() for text in entry)
    if size > _ANNOTATION_BYTES:
        words = f"must have at most {_ANNOTATION_BYTES // 1024} KiB in all, has {size} bytes"
        raise PydanticCustomError("annotations_too_large", "{words}", {"words": words})
    return annotations


LabelKey = Annotated[str, Field(pattern=patterns.LABEL_KEY.regex), AfterValidator(_with_a_short_domain)]
LabelValue = Annotated[str, Field(pattern=patterns.LABEL_VALUE.regex, max_length=63)]
AnnotationKey = Annotated[str, Field(pattern=patterns.ANNOTATION_KEY.regex), AfterValidator(_with_a_short_domain)]
Annotations = Annotated[dict[AnnotationKey, str], AfterValidator(_not_too_large)]


def list_map(key: str) -> dict[str, Any]:
    """JSON schema extras of a list whose entries are told apart by `key`, so that several writers can each own some."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def keys_like(pattern: patterns.Pattern, length: int) -> dict[str, Any]:
    """JSON schema extras of a mapping with keys of that form: an API server's schema says nothing of keys, so a rule does."""
    rule = f"self.all(key, key.size() <= {length} && key.matches('{pattern.regex}'))"
    return {"x-kubernetes-validations": [{"rule": rule, "message": f"a key must be at most {length} {pattern.words}"}]}


_FIELDS_SETS: dict[frozenset[str], set[str]] = {}


def _share_the_fields_set(model: BaseModel) -> None:
    """pydantic keeps for each instance a set of the fields that were given, which is more than half of what a typed object takes. Those
    that are alike are kept once: a frozen model's never changes, and a copy gets its own."""
    given = model.__pydantic_fields_set__
    object.__setattr__(model, "__pydantic_fields_set__", _FIELDS_SETS.setdefault(frozenset(given), given))


class Model(BaseModel):
    """Base of everything inside a spec: camelCase on the wire, unknown fields refused, rules between fields checked."""

    # Validators are built when first used: most commands need one kind, and some need none.
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, defer_build=True)

    rules: ClassVar[tuple[Rule, ...]] = ()
    immutable: ClassVar[tuple[Immutable, ...]] = ()

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        if self.rules:
            broken = tuple(rule for rule in self.rules if not rule.holds(self))
            if broken:
                raise PydanticCustomError("rules", "{text}", {"text": "; ".join(rule.message for rule in broken), "broken": broken})
        _share_the_fields_set(self)
        return self

    def to_wire(self) -> dict[str, Any]:
        """The camelCase form, without what is unset (None)."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class LenientModel(Model):
    """Base of metadata and status: what is unknown is ignored."""

    model_config = ConfigDict(extra="ignore")


class ObjectMeta(LenientModel):
    """metav1.ObjectMeta, as far as we use it, with an API server's bounds. Everything below `annotations` is set by the store."""

    name: Name
    """The object's name, unique among its kind in the namespace."""
    namespace: Namespace = DEFAULT_NAMESPACE
    """The namespace that it lives in; references are to the same one."""
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Short words of the user's own, to find objects by."""
    annotations: Annotations = Field(default_factory=dict)
    """Anything that the user wants to keep with the object."""
    uid: str = ""
    """Tells the object from any other that ever had its name. Set by the store, as is everything below."""
    generation: int = 0
    """Counts the changes of the spec."""
    resource_version: str = ""
    """Changes with each write."""
    creation_timestamp: datetime | None = None
    """When it was created."""
    deletion_timestamp: datetime | None = None
    """When it was asked to go."""
    finalizers: tuple[str, ...] = ()
    """What must be done before it goes."""


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(LenientModel):
    """metav1.Condition: `reason` comes from the kind's enum, `message` says what to do in words."""

    type: str
    """What the condition is about."""
    status: ConditionStatus
    """Whether it holds; Unknown when it could not be found out."""
    reason: str
    """Why, in one stable word that scripts may compare."""
    message: str = ""
    """Why, and what to do, in words."""
    last_transition_time: datetime | None = None
    """When `status` changed last."""
    observed_generation: int = 0
    """The generation of the spec that this is about."""


class LocalReference(Model):
    """A reference to an object of the same namespace."""

    name: Name
    """Its name."""


class EndpointScope(StrEnum):
    """From where an endpoint can be reached."""

    MACHINE = "Machine"
    CLUSTER = "Cluster"
    SITE = "Site"
    EXTERNAL = "External"


class Endpoint(LenientModel):
    """An address at which something of the object answers."""

    name: str
    """What answers there: openai, grpc, dashboard, sandboxes."""
    url: str
    """Its address."""
    scope: EndpointScope
    """From where it can be reached."""


class Status(LenientModel):
    """What every kind's status begins with."""

    observed_generation: int = 0
    """The generation of the spec that this status is about."""
    summary: str = ""
    """The state in one line."""
    conditions: tuple[Condition, ...] = Field(default=(), json_schema_extra=list_map("type"))
    """The state in parts; Ready sums up the others."""
    endpoints: tuple[Endpoint, ...] = Field(default=(), json_schema_extra=list_map("name"))
    """Where it answers."""

    @classmethod
    def readable(cls, raw: Mapping[str, Any]) -> Self:
        """What of a stored status can be read, field by field: another version may have written it. The rest is as if it was not there."""
        return cls.model_validate({name: value for name, value in raw.items() if cls._can_read(name, value)})

    @classmethod
    def _can_read(cls, name: str, value: Any) -> bool:
        try:
            cls.model_validate({name: value})
        except ValidationError:
            return False
        return True

    def condition(self, type_: str) -> Condition | None:
        """The condition of that type, or None."""
        return next((c for c in self.conditions if c.type == type_), None)

    def endpoint(self, name: str) -> str | None:
        """The URL of the endpoint of that name, or None."""
        return next((e.url for e in self.endpoints if e.name == name), None)


class Resource(Model):
    """Base of the kinds. Subclasses narrow `kind`, `spec` and `status`."""

    api_version: str = API_VERSION
    kind: str
    metadata: ObjectMeta

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.kind, self.metadata.namespace, self.metadata.name)

    @property
    def deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None
