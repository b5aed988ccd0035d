"""What the client gives back: plain tuples, so that no caller meets a protobuf message."""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

from adapterhub.pb.v1 import adapters_pb2, inference_pb2, server_pb2

FinishReason = Literal["stop", "length", "tool_calls"]

AdapterState = Literal["queued", "downloading", "validating", "host", "resident", "failed", "disk", "unloaded"]
"""How far an adapter is on a server."""

_FINISH_REASONS: dict[inference_pb2.FinishReason, FinishReason] = {
    inference_pb2.FINISH_REASON_STOP: "stop",
    inference_pb2.FINISH_REASON_LENGTH: "length",
    inference_pb2.FINISH_REASON_TOOL_CALLS: "tool_calls",
}


_STATES: dict[adapters_pb2.AdapterState, AdapterState] = {
    adapters_pb2.ADAPTER_STATE_QUEUED: "queued",
    adapters_pb2.ADAPTER_STATE_DOWNLOADING: "downloading",
    adapters_pb2.ADAPTER_STATE_VALIDATING: "validating",
    adapters_pb2.ADAPTER_STATE_HOST: "host",
    adapters_pb2.ADAPTER_STATE_RESIDENT: "resident",
    adapters_pb2.ADAPTER_STATE_FAILED: "failed",
    adapters_pb2.ADAPTER_STATE_DISK: "disk",
    adapters_pb2.ADAPTER_STATE_UNLOADED: "unloaded",
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


class RouteChoice(NamedTuple):
    """Which rule chose the adapter."""

    by: str
    """`adapter`, `blend`, `base`, `task`, `rule`, `router` or `fallback`."""
    name: str
    """The task's, the rule's or the router's."""
    adapter: str

    @classmethod
    def of(cls, message: inference_pb2.RouteChoice) -> Self:
        return cls(message.by, message.name, message.adapter)


class Timings(NamedTuple):
    """Where the time of a generation went on the server, in seconds, and in which of the engine's steps."""

    before_engine: float
    """Resolving, loading and tokenizing."""
    first_token: float
    """From there to the first token."""
    total: float
    first_step: int = 0
    """The first of the engine's steps, each of which is one batch, that computed a part of it."""
    last_step: int = 0
    steps: int = 0
    """How many of them from the first to the last did."""

    @classmethod
    def of(cls, message: inference_pb2.Timings) -> Self:
        before, first, total = (
            span.ToNanoseconds() / 1e9 for span in (message.before_engine, message.first_token, message.total)
        )
        return cls(before, first, total, message.first_step, message.last_step, message.steps)


class ToolCall(NamedTuple):
    """A call of a tool, which the model made or, in a turn, is said to have made."""

    id: str
    """Unique in its answer; a tool's turn names it."""
    name: str
    """The tool's."""
    arguments: str
    """A JSON object."""

    @classmethod
    def of(cls, message: inference_pb2.ToolCall) -> Self:
        return cls(message.id, message.name, message.arguments)

    def message(self) -> inference_pb2.ToolCall:
        return inference_pb2.ToolCall(id=self.id, name=self.name, arguments=self.arguments)


class Choice(NamedTuple):
    """One answer of several."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprobs, ...]
    """One for each token, when asked for."""
    tool_calls: tuple[ToolCall, ...] = ()
    """As a generation's."""

    @classmethod
    def of(cls, message: inference_pb2.Choice) -> Self:
        return cls(
            message.text,
            tuple(message.token_ids),
            _FINISH_REASONS[message.finish_reason],
            tuple(map(TokenLogprobs.of, message.logprobs)),
            tuple(map(ToolCall.of, message.tool_calls)),
        )


class Generation(NamedTuple):
    """A whole generation."""

    text: str
    token_ids: tuple[int, ...]
    adapter: str
    adapter_digest: str
    finish_reason: FinishReason
    usage: Usage
    logprobs: tuple[TokenLogprobs, ...]
    """One for each token, when asked for."""
    route: RouteChoice
    timings: Timings
    choices: tuple[Choice, ...] = ()
    """Every answer where more than one was asked for, the first being the one above."""
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()
    """One for each token of the prompt but the first, when asked for."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The tools that the model called; the text is what it said beside."""

    @classmethod
    def of(cls, message: inference_pb2.GenerateResponse) -> Self:
        return cls(
            message.text,
            tuple(message.token_ids),
            message.adapter,
            message.adapter_digest,
            _FINISH_REASONS[message.finish_reason],
            Usage.of(message.usage),
            tuple(map(TokenLogprobs.of, message.logprobs)),
            RouteChoice.of(message.route),
            Timings.of(message.timings),
            tuple(map(Choice.of, message.choices)),
            tuple(map(TokenLogprobs.of, message.prompt_logprobs)),
            tuple(map(ToolCall.of, message.tool_calls)),
        )


class Piece(NamedTuple):
    """A piece of a generation: the first names adapter and route, the last has the reason, usage and timings.

    Of several answers each has a last piece with its reason; usage and timings are in the last of all.
    """

    text: str
    token_ids: tuple[int, ...]
    adapter: str
    adapter_digest: str
    finish_reason: FinishReason | None
    usage: Usage | None
    logprobs: tuple[TokenLogprobs, ...]
    """One for each token, when asked for."""
    route: RouteChoice | None
    timings: Timings | None
    choice: int = 0
    """Which answer it belongs to, from 0."""
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()
    """One for each token of the prompt but the first, when asked for, in the first piece."""
    tool_calls: tuple[ToolCall, ...] = ()
    """In the last piece; text that is part of a call is in no piece."""

    @classmethod
    def of(cls, message: inference_pb2.GenerateStreamResponse) -> Self:
        return cls(
            message.text,
            tuple(message.token_ids),
            message.adapter,
            message.adapter_digest,
            _FINISH_REASONS.get(message.finish_reason),
            Usage.of(message.usage) if message.HasField("usage") else None,
            tuple(map(TokenLogprobs.of, message.logprobs)),
            RouteChoice.of(message.route) if message.HasField("route") else None,
            Timings.of(message.timings) if message.HasField("timings") else None,
            message.choice,
            tuple(map(TokenLogprobs.of, message.prompt_logprobs)),
            tuple(map(ToolCall.of, message.tool_calls)),
        )


class ServedAdapter(NamedTuple):
    """An adapter the server knows."""

    digest: str
    """Empty while it is on its way from the Hub."""
    refs: tuple[str, ...]
    method: str
    nbytes: int
    running: int
    """Generations that run on it."""
    state: AdapterState
    reason: str
    """Why the last load failed, when it did."""
    pinned: bool

    @classmethod
    def of(cls, message: adapters_pb2.Adapter) -> Self:
        return cls(
            message.digest,
            tuple(message.refs),
            message.method,
            message.bytes,
            message.running,
            _STATES[message.state],
            message.reason,
            message.pinned,
        )


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


class ServerLimits(NamedTuple):
    """What requests and adapters may take."""

    max_sequences: int
    max_requests: int
    step_tokens: int
    kv_tokens: int
    kv_bytes: int
    adapter_bytes: int
    host_adapter_bytes: int

    @classmethod
    def of(cls, message: server_pb2.Limits) -> Self:
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
    methods: tuple[str, ...]
    limits: ServerLimits
    stats: Stats

    @classmethod
    def of(cls, message: server_pb2.InfoResponse) -> Self:
        plain = {name: getattr(message, name) for name in cls._fields if name not in ("methods", "limits", "stats")}
        limits, stats = ServerLimits.of(message.limits), Stats.of(message.stats)
        return cls(**plain, methods=tuple(message.methods), limits=limits, stats=stats)
