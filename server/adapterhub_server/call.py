"""One call from its arrival to its end: what is told of it in the log, in the metrics and in a trace."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

import grpc

from adapterhub.adapter import Adapter
from adapterhub.client.statuses import INTERNAL, Row
from adapterhub.store import AdapterRef
from adapterhub_server.caller import Caller
from adapterhub_server.router import Choice
from adapterhub_server.stopwatch import Stopwatch

REQUEST_ID = "x-request-id"
"""The metadata key of a request's id, both ways."""

TRACE_CONTEXT = ("traceparent", "tracestate")

SLACK = 0.1
"""Seconds: a client whose time is over breaks off a moment before the server's own clock says so."""

_PLAIN = re.compile(r"[A-Za-z0-9._:=/+-]{1,128}")


@dataclass
class Call:
    """Made by the interceptor and filled on the way; holds no prompt, no text and no key."""

    rpc: str
    """`Inference/Generate`."""
    request_id: str
    peer: str
    """The client's address, without its port."""
    parent: Mapping[str, str] = field(default_factory=dict)
    """The client's span, as W3C's trace context has it."""
    watch: Stopwatch = field(default_factory=Stopwatch)
    fills: bool = False
    """Whether a generation goes on to the end of the context where the request does not say how many tokens."""
    key: str = ""
    """The key's id."""
    tenant: str = ""
    adapter: str = ""
    """`name:tag` of the adapter that was asked for or chosen; empty for none and for the bare base."""
    digest: str = ""
    """The adapter's, once it is found."""
    method: str = ""
    """The adapter's method, likewise."""
    route: Choice | None = None
    prompt_tokens: int = 0
    generated_tokens: int = 0
    status: str = "OK"
    """The gRPC status it ended with, by name."""
    outcome: str = "ok"
    """`ok`; of a generation why it ended; of a call that failed, the reason as ErrorInfo has it."""

    @classmethod
    def begin(cls, method: str, peer: str, metadata: Mapping[str, str]) -> Call:
        """A call of `/package.Service/Method`, under the client's own id if that is a plain token."""
        asked = metadata.get(REQUEST_ID, "")
        request_id = asked if _PLAIN.fullmatch(asked) else uuid.uuid4().hex
        parent = {name: metadata[name] for name in TRACE_CONTEXT if name in metadata}
        return cls(method.rpartition(".")[2], request_id, peer, parent)

    def let_in(self, caller: Caller) -> None:
        """It is known who calls."""
        self.key, self.tenant = caller.key, caller.tenant

    def asks_for(self, ref: AdapterRef) -> None:
        """An adapter is needed."""
        self.adapter = ref.label

    def found(self, adapter: Adapter) -> None:
        """The adapter is there."""
        self.digest, self.method = adapter.digest, adapter.method_name

    def failed(self, row: Row) -> None:
        """It ends with the status of an error."""
        self.status, self.outcome = row.code.name, row.reason

    def broken_off(self, time_remaining: float | None) -> None:
        """It ends because the client went away, or because its time, of which so many seconds remain, is over."""
        over = time_remaining is not None and time_remaining <= SLACK
        self.status = (grpc.StatusCode.DEADLINE_EXCEEDED if over else grpc.StatusCode.CANCELLED).name
        self.outcome = self.status

    def part(self) -> Call:
        """A call of one generation of several."""
        return replace(self, watch=Stopwatch())

    def join(self, parts: Iterable[Call]) -> None:
        """Tell what its parts came to: tokens of all, times from the first that began to the last that ended."""
        for part in parts:
            self.prompt_tokens += part.prompt_tokens
            self.generated_tokens += part.generated_tokens
            self.adapter, self.digest, self.method, self.route = part.adapter, part.digest, part.method, part.route
            self.outcome = part.outcome
            self.watch.join(part.watch)

    @property
    def is_internal(self) -> bool:
        """Whether it failed by a fault of ours."""
        return self.status == INTERNAL.code.name


CALL: ContextVar[Call] = ContextVar("adapterhub-call")
"""The call under way; set by the interceptor."""
