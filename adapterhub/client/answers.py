"""What the client gives back: plain tuples, so that no caller meets a protobuf message."""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

from adapterhub.pb.v1 import adapters_pb2, inference_pb2, server_pb2

FinishReason = Literal["stop", "length"]

_FINISH_REASONS: dict[inference_pb2.FinishReason, FinishReason] = {
    inference_pb2.FINISH_REASON_STOP: "stop",
    inference_pb2.FINISH_REASON_LENGTH: "length",
}


class Usage(NamedTuple):
    """What a generation took, in tokens."""

    prompt_tokens: int
    generated_tokens: int

    @classmethod
    def of(cls, message: inference_pb2.Usage) -> Self:
        return cls(message.prompt_tokens, message.generated_tokens)


class TokenLogprobs(NamedTuple):
    """How likely a generated token was, and the likeliest tokens with their log-probabilities."""

    logprob: float
    top: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, message: inference_pb2.TokenLogprobs) -> Self:
        return cls(message.logprob, tuple((each.token_id, each.logprob) for each in message.top))


class Generation(NamedTuple):
    """A whole generation."""

    text: str
    token_ids: tuple[int, ...]
    adapter: str
    adapter_digest: str
    finish_reason: FinishReason
    usage: Usage
    logprobs: tuple[TokenLogprobs, ...] = ()
    """One for each token, when asked for."""

    @classmethod
    def of(cls, message: inference_pb2.GenerateResponse) -> Self:
        reason = _FINISH_REASONS[message.finish_reason]
        ids = tuple(message.token_ids)
        usage, logprobs = Usage.of(message.usage), tuple(map(TokenLogprobs.of, message.logprobs))
        return cls(message.text, ids, message.adapter, message.adapter_digest, reason, usage, logprobs)


class Piece(NamedTuple):
    """A piece of a generation: the adapter is named in the first, the reason and usage stand in the last."""

    text: str
    token_ids: tuple[int, ...]
    adapter: str
    adapter_digest: str
    finish_reason: FinishReason | None
    usage: Usage | None
    logprobs: tuple[TokenLogprobs, ...] = ()
    """One for each token, when asked for."""

    @classmethod
    def of(cls, message: inference_pb2.GenerateStreamResponse) -> Self:
        reason = _FINISH_REASONS.get(message.finish_reason)
        usage = Usage.of(message.usage) if message.HasField("usage") else None
        ids, logprobs = tuple(message.token_ids), tuple(map(TokenLogprobs.of, message.logprobs))
        return cls(message.text, ids, message.adapter, message.adapter_digest, reason, usage, logprobs)


class ResidentAdapter(NamedTuple):
    """An adapter the server holds in memory."""

    digest: str
    refs: tuple[str, ...]
    method: str
    nbytes: int
    running: int

    @classmethod
    def of(cls, message: adapters_pb2.ResidentAdapter) -> Self:
        return cls(message.digest, tuple(message.refs), message.method, message.bytes, message.running)


class Stats(NamedTuple):
    """The server's counters since its start, and its gauges of this moment."""

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

    @classmethod
    def of(cls, message: server_pb2.Stats) -> Self:
        return cls(*(getattr(message, name) for name in cls._fields))


class ServerInfo(NamedTuple):
    """What the server is and how it fares."""

    version: str
    base_id: str
    base_revision: str
    base_digest: str
    runtime_digest: str
    quantization: str
    weight_bytes: int
    max_context: int
    stats: Stats

    @classmethod
    def of(cls, message: server_pb2.InfoResponse) -> Self:
        values = {name: getattr(message, name) for name in cls._fields if name != "stats"}
        return cls(**values, stats=Stats.of(message.stats))
