"""One request on its way through the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from adapterhub.engine.block_table import BlockTable
from adapterhub.engine.lookup import Lookup
from adapterhub.engine.prefix_keys import PrefixKeys
from adapterhub.engine.request import Event, Request, TokenLogprobs
from adapterhub.engine.resident_adapter import ResidentAdapter
from adapterhub.engine.rules import Rules
from adapterhub.engine.stop_strings import StopStrings
from adapterhub.structure.matcher import Matcher


class Client(NamedTuple):
    """Whom fairness counts: an adapter's requests of one tenant."""

    adapter: str
    salt: str


@dataclass(eq=False)
class Sequence:
    """Positions 0..v-1 are the adapter's virtual tokens, then the prompt, then what was generated."""

    id: int
    """Counts up with arrival."""
    request: Request
    on_event: Callable[[Event], None]
    runtime_digest: str
    """The base's, as it computes."""
    token_ids: list[int]
    """The prompt, then the generated tokens."""
    adapter: ResidentAdapter | None = None
    """Filled, before it is scheduled, when the request names one."""
    computed: int = 0
    """Positions whose keys and values are in the cache; filled by the scheduler after each step."""
    table: BlockTable | None = None
    """Its blocks; the scheduler's, while it runs."""
    preempted: bool = False
    """Whether it ran before and was put off."""
    starts: int = 0
    """The first position whose row the adapter changes; filled with it."""
    stop: StopStrings | None = None
    """Of a request that has stop strings or stop tokens."""
    rules: Rules | None = None
    """Of a request whose options change its logits."""
    prompt_logprobs: list[TokenLogprobs] = field(default_factory=list)
    """Where asked for: of the prompt's tokens behind the first, as far as computed, until the first token goes out."""
    matcher: Matcher | None = None
    """Filled, before it is scheduled, when the request has a structure; goes on with the generated tokens."""
    lookup: Lookup | None = None
    """Of a request whose tokens are guessed."""
    guesses: tuple[int, ...] = ()
    """What may come next; filled by the scheduler for one step."""
    first_step: int = 0
    """The number of the first step it was computed in; filled by the loop."""
    num_steps: int = 0
    """How many steps it was computed in, likewise."""

    @cached_property
    def keys(self) -> PrefixKeys:
        """Names of its blocks' content; first asked for when its adapter is there."""
        kv_digest = self.adapter.kv_digest if self.adapter else ""
        return PrefixKeys(self.runtime_digest, kv_digest, self.request.salt, starts=self.starts)

    @property
    def waits(self) -> bool:
        """Whether what it needs to be scheduled is not there: its compiled structure, its adapter."""
        request = self.request
        return (request.structure is not None and self.matcher is None) or (
            bool(request.adapter) and self.adapter is None
        )

    @property
    def client(self) -> Client:
        return Client(self.request.adapter, self.request.salt)

    @property
    def slot(self) -> int:
        """The adapter's slot; 0 is the bare base."""
        return self.adapter.slot if self.adapter else 0

    @property
    def virtual_tokens(self) -> int:
        return self.adapter.virtual_tokens if self.adapter else 0

    @property
    def length(self) -> int:
        """Positions so far."""
        return self.virtual_tokens + len(self.token_ids)

    @property
    def max_length(self) -> int:
        """Positions it may need at most."""
        return self.virtual_tokens + len(self.request.prompt_ids) + self.request.sampling.max_new_tokens

    @property
    def num_generated(self) -> int:
        return len(self.token_ids) - len(self.request.prompt_ids)

    @property
    def num_untold(self) -> int:
        """Tokens of the prompt whose log-probabilities are asked for and not computed yet."""
        if self.request.sampling.prompt_logprobs is None or self.num_generated:
            return 0
        return len(self.request.prompt_ids) - 1 - len(self.prompt_logprobs)

    @property
    def phase(self) -> Literal["prefill", "decode"]:
        return "decode" if self.computed == self.length - 1 and self.num_generated else "prefill"

    def position_ids(self, stop: int) -> list[int]:
        """Ids of the positions up to `stop`; virtual tokens are -1, -2, .."""
        virtual = self.virtual_tokens
        return [*range(-1, -min(stop, virtual) - 1, -1), *self.token_ids[: max(stop - virtual, 0)]]


class Chunk(NamedTuple):
    """Positions `start` to `stop` of a sequence, computed in one step; those of its guesses are the last."""

    sequence: Sequence
    start: int
    stop: int

    @property
    def samples(self) -> bool:
        """Whether the step gives the sequence's next token."""
        return self.stop >= self.sequence.length

    @property
    def num_sampled(self) -> int:
        """Tokens that the step gives the sequence, if all its guesses are right."""
        return self.samples + len(self.sequence.guesses)

    @property
    def num_heads(self) -> int:
        """Of its last rows, how many reach the head."""
        return self.num_told + self.num_sampled

    @property
    def num_told(self) -> int:
        """Of those rows, how many come before the one that samples and tell how likely a token of the prompt was."""
        untold = self.sequence.num_untold
        if not untold:
            return 0
        last = self.sequence.length - 1  # a row tells of the token behind it
        return max(0, min(self.stop, last) - max(self.start, last - untold))

    def input_ids(self) -> list[int]:
        """Token ids of the positions; 0 stands where a virtual token is."""
        virtual = self.sequence.virtual_tokens
        tokens, stop = self.sequence.token_ids, min(self.stop, self.sequence.length)
        ids = [tokens[position - virtual] if position >= virtual else 0 for position in range(self.start, stop)]
        return [*ids, *self.sequence.guesses]

    def virtual_rows(self) -> Tensor | None:
        """The virtual embeddings among the positions, `[n, hidden]`; None when there are none."""
        adapter = self.sequence.adapter
        if adapter is None or adapter.prompt is None or self.start >= adapter.virtual_tokens:
            return None
        return adapter.prompt[self.start : min(self.stop, adapter.virtual_tokens)]

    def places(self, start: int = 0) -> Tensor:
        """Where the sequence's positions from `start` to the chunk's end live in the KV cache."""
        assert self.sequence.table is not None
        return self.sequence.table.places(start, self.stop)


def cat_places(chunks: list[Chunk]) -> Tensor:
    """The places of all rows of a step, `[rows]`."""
    return torch.cat([chunk.places(chunk.start) for chunk in chunks])
