"""One call from its arrival to its end: what is told of it in the log, in the metrics and in a trace."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

import grpc

from adapterhub.client.statuses import INTERNAL, Row
from adapterhub.engine import Servable
from adapterhub.store import AdapterRef
from adapterhub_server.caller import Caller
from adapterhub_server.router import Choice
from adapterhub_server.stopwatch import Stopwatch

REQUEST_ID = "x-request-id"
"""The metadata key of a request's id, both ways."""

TRACE_CONTEXT = ("traceparent", "tracestate")

PART = "/request"
"""Behind the name of a call that is one request of several in it."""

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
    names_base: bool = False
    """Whether the bare base was asked for by its name, so that no router picks an adapter."""
    key: str = ""
    """The key's id."""
    tenant: str = ""
    adapter: str = ""
    """`name:tag` of the adapter that was asked for or chosen, or the blend; empty for none and for the bare base."""
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
    path: str = ""
    """`/adapterhub.v1.Inference/Generate`."""
    parts: int = 0
    """Requests that came in it and are calls of their own."""

    @classmethod
    def begin(cls, method: str, peer: str, metadata: Mapping[str, str]) -> Call:
        """A call of `/package.Service/Method`, under the client's own id if that is a plain token."""
        asked = metadata.get(REQUEST_ID, "")
        request_id = asked if _PLAIN.fullmatch(asked) else uuid.uuid4().hex
        parent = {name: metadata[name] for name in TRACE_CONTEXT if name in metadata}
        return cls(method.rpartition(".")[2], request_id, peer, parent, path=method)

    def part(self) -> Call:
        """The next of several requests that came in this one, as a call of its own."""
        self.parts += 1
        rpc = f"{self.rpc.removesuffix(PART)}{PART}"
        return Call(
            rpc,
            f"{self.request_id}/{self.parts}",
            self.peer,
            self.parent,
            fills=self.fills,
            names_base=self.names_base,
            path=self.path,
        )

    def let_in(self, caller: Caller) -> None:
        """It is known who calls."""
        self.key, self.tenant = caller.key, caller.tenant

    def asks_for(self, ref: AdapterRef) -> None:
        """An adapter is needed."""
        self.adapter = ref.label

    def found(self, adapter: Servable) -> None:
        """The adapter, or all of a blend, is there."""
        self.digest, self.method = adapter.digest, adapter.method_name

    def failed(self, row: Row) -> None:
        """It ends with the status of an error."""
        self.status, self.outcome = row.code.name, row.reason

    def broken_off(self, time_remaining: float | None) -> None:
        """It ends because the client went away, or because its time, of which so many seconds remain, is over."""
        over = time_remaining is not None and time_remaining <= SLACK
        self.status = (grpc.StatusCode.DEADLINE_EXCEEDED if over else grpc.StatusCode.CANCELLED).name
        self.outcome = self.status

    @property
    def is_internal(self) -> bool:
        """Whether it failed by a fault of ours."""
        return self.status == INTERNAL.code.name


CALL: ContextVar[Call] = ContextVar("adapterhub-call")
"""The call under way; set by the interceptor."""
