from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RouteFallback(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUTE_FALLBACK_UNSPECIFIED: _ClassVar[RouteFallback]
    ROUTE_FALLBACK_ERROR: _ClassVar[RouteFallback]
    ROUTE_FALLBACK_BASE: _ClassVar[RouteFallback]
ROUTE_FALLBACK_UNSPECIFIED: RouteFallback
ROUTE_FALLBACK_ERROR: RouteFallback
ROUTE_FALLBACK_BASE: RouteFallback

class Route(_message.Message):
    __slots__ = ("task", "rules", "targets", "fallback", "system_prompt")
    TASK_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_PROMPT_FIELD_NUMBER: _ClassVar[int]
    task: str
    rules: _containers.RepeatedCompositeFieldContainer[RouteRule]
    targets: _containers.RepeatedCompositeFieldContainer[RouteTarget]
    fallback: RouteFallback
    system_prompt: str
    def __init__(self, task: _Optional[str] = ..., rules: _Optional[_Iterable[_Union[RouteRule, _Mapping]]] = ..., targets: _Optional[_Iterable[_Union[RouteTarget, _Mapping]]] = ..., fallback: _Optional[_Union[RouteFallback, str]] = ..., system_prompt: _Optional[str] = ...) -> None: ...

class RouteRule(_message.Message):
    __slots__ = ("name", "metadata", "targets")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    name: str
    metadata: _containers.ScalarMap[str, str]
    targets: _containers.RepeatedCompositeFieldContainer[RouteTarget]
    def __init__(self, name: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., targets: _Optional[_Iterable[_Union[RouteTarget, _Mapping]]] = ...) -> None: ...

class RouteTarget(_message.Message):
    __slots__ = ("adapter", "weight")
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    adapter: str
    weight: int
    def __init__(self, adapter: _Optional[str] = ..., weight: _Optional[int] = ...) -> None: ...

class ListRoutesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRoutesResponse(_message.Message):
    __slots__ = ("routes", "etag")
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    routes: _containers.RepeatedCompositeFieldContainer[Route]
    etag: str
    def __init__(self, routes: _Optional[_Iterable[_Union[Route, _Mapping]]] = ..., etag: _Optional[str] = ...) -> None: ...

class SetRouteRequest(_message.Message):
    __slots__ = ("route", "etag")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    route: Route
    etag: str
    def __init__(self, route: _Optional[_Union[Route, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class SetRouteResponse(_message.Message):
    __slots__ = ("etag",)
    ETAG_FIELD_NUMBER: _ClassVar[int]
    etag: str
    def __init__(self, etag: _Optional[str] = ...) -> None: ...

class DeleteRouteRequest(_message.Message):
    __slots__ = ("task", "etag")
    TASK_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    task: str
    etag: str
    def __init__(self, task: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class DeleteRouteResponse(_message.Message):
    __slots__ = ("etag",)
    ETAG_FIELD_NUMBER: _ClassVar[int]
    etag: str
    def __init__(self, etag: _Optional[str] = ...) -> None: ...
