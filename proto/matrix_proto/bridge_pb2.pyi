import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TunnelTarget(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TUNNEL_TARGET_UNSPECIFIED: _ClassVar[TunnelTarget]
    DASHBOARD: _ClassVar[TunnelTarget]
    STATE: _ClassVar[TunnelTarget]
    DIRECTORY: _ClassVar[TunnelTarget]
    GATEWAY: _ClassVar[TunnelTarget]
TUNNEL_TARGET_UNSPECIFIED: TunnelTarget
DASHBOARD: TunnelTarget
STATE: TunnelTarget
DIRECTORY: TunnelTarget
GATEWAY: TunnelTarget

class FromSite(_message.Message):
    __slots__ = ("hello", "report", "tunnel_refused")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    TUNNEL_REFUSED_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    report: Report
    tunnel_refused: TunnelRefused
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., report: _Optional[_Union[Report, _Mapping]] = ..., tunnel_refused: _Optional[_Union[TunnelRefused, _Mapping]] = ...) -> None: ...

class FromHub(_message.Message):
    __slots__ = ("welcome", "desired", "open_tunnel")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    DESIRED_FIELD_NUMBER: _ClassVar[int]
    OPEN_TUNNEL_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    desired: Desired
    open_tunnel: OpenTunnel
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., desired: _Optional[_Union[Desired, _Mapping]] = ..., open_tunnel: _Optional[_Union[OpenTunnel, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol", "site", "bridge_version", "host", "user", "slurm_version", "profiles", "hub_id", "instance")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    BRIDGE_VERSION_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    SLURM_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROFILES_FIELD_NUMBER: _ClassVar[int]
    HUB_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    site: str
    bridge_version: str
    host: str
    user: str
    slurm_version: str
    profiles: _containers.RepeatedScalarFieldContainer[str]
    hub_id: str
    instance: str
    def __init__(self, protocol: _Optional[int] = ..., site: _Optional[str] = ..., bridge_version: _Optional[str] = ..., host: _Optional[str] = ..., user: _Optional[str] = ..., slurm_version: _Optional[str] = ..., profiles: _Optional[_Iterable[str]] = ..., hub_id: _Optional[str] = ..., instance: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol", "hub_id")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    HUB_ID_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    hub_id: str
    def __init__(self, protocol: _Optional[int] = ..., hub_id: _Optional[str] = ...) -> None: ...

class Desired(_message.Message):
    __slots__ = ("clusters",)
    CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    clusters: _containers.RepeatedCompositeFieldContainer[ClusterDesired]
    def __init__(self, clusters: _Optional[_Iterable[_Union[ClusterDesired, _Mapping]]] = ...) -> None: ...

class ClusterDesired(_message.Message):
    __slots__ = ("uid", "namespace", "name", "generation", "phase", "spec", "attempt", "secrets")
    class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PHASE_UNSPECIFIED: _ClassVar[ClusterDesired.Phase]
        PRESENT: _ClassVar[ClusterDesired.Phase]
        DELETE: _ClassVar[ClusterDesired.Phase]
    PHASE_UNSPECIFIED: ClusterDesired.Phase
    PRESENT: ClusterDesired.Phase
    DELETE: ClusterDesired.Phase
    class SecretsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    UID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    uid: str
    namespace: str
    name: str
    generation: int
    phase: ClusterDesired.Phase
    spec: str
    attempt: int
    secrets: _containers.ScalarMap[str, bytes]
    def __init__(self, uid: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., generation: _Optional[int] = ..., phase: _Optional[_Union[ClusterDesired.Phase, str]] = ..., spec: _Optional[str] = ..., attempt: _Optional[int] = ..., secrets: _Optional[_Mapping[str, bytes]] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("clusters",)
    CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    clusters: _containers.RepeatedCompositeFieldContainer[ClusterReport]
    def __init__(self, clusters: _Optional[_Iterable[_Union[ClusterReport, _Mapping]]] = ...) -> None: ...

class ClusterReport(_message.Message):
    __slots__ = ("uid", "namespace", "name", "generation", "attempt", "phase", "looked_at", "presence", "message", "refusal", "template_hash", "head", "workers", "address", "started_at", "expires_at", "claimed")
    class Presence(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PRESENCE_UNSPECIFIED: _ClassVar[ClusterReport.Presence]
        UNKNOWN: _ClassVar[ClusterReport.Presence]
        ABSENT: _ClassVar[ClusterReport.Presence]
        PRESENT: _ClassVar[ClusterReport.Presence]
    PRESENCE_UNSPECIFIED: ClusterReport.Presence
    UNKNOWN: ClusterReport.Presence
    ABSENT: ClusterReport.Presence
    PRESENT: ClusterReport.Presence
    UID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    LOOKED_AT_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_HASH_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_FIELD_NUMBER: _ClassVar[int]
    uid: str
    namespace: str
    name: str
    generation: int
    attempt: int
    phase: ClusterDesired.Phase
    looked_at: _timestamp_pb2.Timestamp
    presence: ClusterReport.Presence
    message: str
    refusal: Refusal
    template_hash: str
    head: Node
    workers: _containers.RepeatedCompositeFieldContainer[Node]
    address: Address
    started_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    claimed: bool
    def __init__(self, uid: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., generation: _Optional[int] = ..., attempt: _Optional[int] = ..., phase: _Optional[_Union[ClusterDesired.Phase, str]] = ..., looked_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., presence: _Optional[_Union[ClusterReport.Presence, str]] = ..., message: _Optional[str] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., template_hash: _Optional[str] = ..., head: _Optional[_Union[Node, _Mapping]] = ..., workers: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., address: _Optional[_Union[Address, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., claimed: _Optional[bool] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("name", "phase", "since", "reason", "message", "job_id", "host")
    class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PHASE_UNSPECIFIED: _ClassVar[Node.Phase]
        STARTING: _ClassVar[Node.Phase]
        RUNNING: _ClassVar[Node.Phase]
        RECOVERING: _ClassVar[Node.Phase]
        FAILED: _ClassVar[Node.Phase]
    PHASE_UNSPECIFIED: Node.Phase
    STARTING: Node.Phase
    RUNNING: Node.Phase
    RECOVERING: Node.Phase
    FAILED: Node.Phase
    NAME_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    name: str
    phase: Node.Phase
    since: _timestamp_pb2.Timestamp
    reason: str
    message: str
    job_id: str
    host: str
    def __init__(self, name: _Optional[str] = ..., phase: _Optional[_Union[Node.Phase, str]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., job_id: _Optional[str] = ..., host: _Optional[str] = ...) -> None: ...

class Address(_message.Message):
    __slots__ = ("host", "dashboard_port", "state_port", "directory_port", "gateway_port", "model_cache_dir", "secrets_dir")
    HOST_FIELD_NUMBER: _ClassVar[int]
    DASHBOARD_PORT_FIELD_NUMBER: _ClassVar[int]
    STATE_PORT_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_PORT_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_PORT_FIELD_NUMBER: _ClassVar[int]
    MODEL_CACHE_DIR_FIELD_NUMBER: _ClassVar[int]
    SECRETS_DIR_FIELD_NUMBER: _ClassVar[int]
    host: str
    dashboard_port: int
    state_port: int
    directory_port: int
    gateway_port: int
    model_cache_dir: str
    secrets_dir: str
    def __init__(self, host: _Optional[str] = ..., dashboard_port: _Optional[int] = ..., state_port: _Optional[int] = ..., directory_port: _Optional[int] = ..., gateway_port: _Optional[int] = ..., model_cache_dir: _Optional[str] = ..., secrets_dir: _Optional[str] = ...) -> None: ...

class OpenTunnel(_message.Message):
    __slots__ = ("id", "uid", "target")
    ID_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    id: str
    uid: str
    target: TunnelTarget
    def __init__(self, id: _Optional[str] = ..., uid: _Optional[str] = ..., target: _Optional[_Union[TunnelTarget, str]] = ...) -> None: ...

class TunnelRefused(_message.Message):
    __slots__ = ("id", "message")
    ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    message: str
    def __init__(self, id: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
