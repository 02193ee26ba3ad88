from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WatchRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Update(_message.Message):
    __slots__ = ("instance", "revision", "full", "settled", "replicas", "removed")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    instance: str
    revision: int
    full: bool
    settled: bool
    replicas: _containers.RepeatedCompositeFieldContainer[Replica]
    removed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, instance: _Optional[str] = ..., revision: _Optional[int] = ..., full: _Optional[bool] = ..., settled: _Optional[bool] = ..., replicas: _Optional[_Iterable[_Union[Replica, _Mapping]]] = ..., removed: _Optional[_Iterable[str]] = ...) -> None: ...

class Replica(_message.Message):
    __slots__ = ("id", "application", "model", "state", "grpc_address", "http_url", "suspect", "load")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Replica.State]
        STARTING: _ClassVar[Replica.State]
        READY: _ClassVar[Replica.State]
        DRAINING: _ClassVar[Replica.State]
        FAILED: _ClassVar[Replica.State]
    STATE_UNSPECIFIED: Replica.State
    STARTING: Replica.State
    READY: Replica.State
    DRAINING: Replica.State
    FAILED: Replica.State
    ID_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    GRPC_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    HTTP_URL_FIELD_NUMBER: _ClassVar[int]
    SUSPECT_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    id: str
    application: str
    model: str
    state: Replica.State
    grpc_address: str
    http_url: str
    suspect: bool
    load: Load
    def __init__(self, id: _Optional[str] = ..., application: _Optional[str] = ..., model: _Optional[str] = ..., state: _Optional[_Union[Replica.State, str]] = ..., grpc_address: _Optional[str] = ..., http_url: _Optional[str] = ..., suspect: _Optional[bool] = ..., load: _Optional[_Union[Load, _Mapping]] = ...) -> None: ...

class Load(_message.Message):
    __slots__ = ("ongoing", "waiting", "cache_use")
    ONGOING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    CACHE_USE_FIELD_NUMBER: _ClassVar[int]
    ongoing: int
    waiting: int
    cache_use: float
    def __init__(self, ongoing: _Optional[int] = ..., waiting: _Optional[int] = ..., cache_use: _Optional[float] = ...) -> None: ...
