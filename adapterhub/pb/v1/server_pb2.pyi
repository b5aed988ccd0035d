from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class InfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InfoResponse(_message.Message):
    __slots__ = ("version", "base_id", "base_revision", "base_digest", "runtime_digest", "quantization", "weight_bytes", "max_context", "stats", "methods", "limits")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BASE_ID_FIELD_NUMBER: _ClassVar[int]
    BASE_REVISION_FIELD_NUMBER: _ClassVar[int]
    BASE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_DIGEST_FIELD_NUMBER: _ClassVar[int]
    QUANTIZATION_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    version: str
    base_id: str
    base_revision: str
    base_digest: str
    runtime_digest: str
    quantization: str
    weight_bytes: int
    max_context: int
    stats: Stats
    methods: _containers.RepeatedScalarFieldContainer[str]
    limits: Limits
    def __init__(self, version: _Optional[str] = ..., base_id: _Optional[str] = ..., base_revision: _Optional[str] = ..., base_digest: _Optional[str] = ..., runtime_digest: _Optional[str] = ..., quantization: _Optional[str] = ..., weight_bytes: _Optional[int] = ..., max_context: _Optional[int] = ..., stats: _Optional[_Union[Stats, _Mapping]] = ..., methods: _Optional[_Iterable[str]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_sequences", "max_requests", "step_tokens", "kv_tokens", "kv_bytes", "adapter_bytes", "host_adapter_bytes")
    MAX_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    STEP_TOKENS_FIELD_NUMBER: _ClassVar[int]
    KV_TOKENS_FIELD_NUMBER: _ClassVar[int]
    KV_BYTES_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_BYTES_FIELD_NUMBER: _ClassVar[int]
    HOST_ADAPTER_BYTES_FIELD_NUMBER: _ClassVar[int]
    max_sequences: int
    max_requests: int
    step_tokens: int
    kv_tokens: int
    kv_bytes: int
    adapter_bytes: int
    host_adapter_bytes: int
    def __init__(self, max_sequences: _Optional[int] = ..., max_requests: _Optional[int] = ..., step_tokens: _Optional[int] = ..., kv_tokens: _Optional[int] = ..., kv_bytes: _Optional[int] = ..., adapter_bytes: _Optional[int] = ..., host_adapter_bytes: _Optional[int] = ...) -> None: ...

class Stats(_message.Message):
    __slots__ = ("steps", "mixed_adapter_steps", "mixed_method_steps", "prompt_tokens", "generated_tokens", "running", "waiting", "kv_tokens_free", "kv_tokens_total", "loading", "preemptions", "reused_tokens", "evictions", "looked_up_tokens")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    MIXED_ADAPTER_STEPS_FIELD_NUMBER: _ClassVar[int]
    MIXED_METHOD_STEPS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    GENERATED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    KV_TOKENS_FREE_FIELD_NUMBER: _ClassVar[int]
    KV_TOKENS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    LOADING_FIELD_NUMBER: _ClassVar[int]
    PREEMPTIONS_FIELD_NUMBER: _ClassVar[int]
    REUSED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EVICTIONS_FIELD_NUMBER: _ClassVar[int]
    LOOKED_UP_TOKENS_FIELD_NUMBER: _ClassVar[int]
    steps: int
    mixed_adapter_steps: int
    mixed_method_steps: int
    prompt_tokens: int
    generated_tokens: int
    running: int
    waiting: int
    kv_tokens_free: int
    kv_tokens_total: int
    loading: int
    preemptions: int
    reused_tokens: int
    evictions: int
    looked_up_tokens: int
    def __init__(self, steps: _Optional[int] = ..., mixed_adapter_steps: _Optional[int] = ..., mixed_method_steps: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., generated_tokens: _Optional[int] = ..., running: _Optional[int] = ..., waiting: _Optional[int] = ..., kv_tokens_free: _Optional[int] = ..., kv_tokens_total: _Optional[int] = ..., loading: _Optional[int] = ..., preemptions: _Optional[int] = ..., reused_tokens: _Optional[int] = ..., evictions: _Optional[int] = ..., looked_up_tokens: _Optional[int] = ...) -> None: ...
