"""What every kind is made of: the base model, metadata, conditions, and the identity of an object.

Python attributes are snake_case, the wire (YAML, JSON, the API server) is camelCase; both are accepted by constructors.
Specs refuse unknown fields. Metadata and status are lenient: an API server, or a newer controller, may add to them.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from matrix_crds.constants import API_VERSION, DEFAULT_NAMESPACE
from matrix_crds.keys import ObjectKey

Name = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
"""A DNS-1035 label of at most 40 characters, so that names derived from it still fit into 63."""


class Model(BaseModel):
    """Base of everything inside a spec: camelCase on the wire, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    def to_wire(self) -> dict[str, Any]:
        """The camelCase form, without what is unset (None)."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class LenientModel(Model):
    """Base of metadata and status: what is unknown is ignored."""

    model_config = ConfigDict(extra="ignore")


class ObjectMeta(LenientModel):
    """metav1.ObjectMeta, as far as we use it. Everything below `annotations` is set by the store."""

    name: Name
    namespace: str = DEFAULT_NAMESPACE
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)
    annotations: dict[str, str] = Field(default_factory=dict, max_length=64)
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    finalizers: tuple[str, ...] = ()


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(LenientModel):
    """metav1.Condition: `reason` comes from the kind's enum, `message` says what to do in words."""

    type: str
    status: ConditionStatus
    reason: str
    message: str = ""
    last_transition_time: datetime | None = None
    observed_generation: int = 0


class LocalReference(Model):
    """A reference to an object of the same namespace."""

    name: Name


class EndpointScope(StrEnum):
    """From where an endpoint can be reached."""

    MACHINE = "Machine"
    CLUSTER = "Cluster"
    SITE = "Site"
    EXTERNAL = "External"


class Endpoint(LenientModel):
    name: str
    url: str
    scope: EndpointScope


class Status(LenientModel):
    """What every kind's status begins with."""

    observed_generation: int = 0
    summary: str = ""
    conditions: tuple[Condition, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()

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
