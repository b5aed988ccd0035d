"""How a decoder layer joins its parts to the residual, told by the names of its norms."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple


class Layout(NamedTuple):
    """Names of a layer's children."""

    attention_output: str
    """Gives what is added to the residual after attention."""
    mlp_output: str
    """Gives what is added to the residual after the feed-forward part."""
    mlp_input: str
    """Takes the residual in front of the feed-forward part."""


LAYOUTS: dict[frozenset[str], Layout] = {
    # a norm in front of each part: Llama, Qwen, Mistral
    frozenset(("input_layernorm", "post_attention_layernorm")): Layout("self_attn", "mlp", "post_attention_layernorm"),
    # the same: GPT-2
    frozenset(("ln_1", "ln_2")): Layout("attn", "mlp", "ln_2"),
    # in front of each part and behind it: Gemma 2 and 3
    frozenset(
        ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
    ): Layout("post_attention_layernorm", "post_feedforward_layernorm", "pre_feedforward_layernorm"),
    # behind each part only: OLMo 2
    frozenset(("post_attention_layernorm", "post_feedforward_layernorm")): Layout(
        "post_attention_layernorm", "post_feedforward_layernorm", "mlp"
    ),
}
"""By the norms among a layer's children."""


def layout_of(children: Set[str], norms: Set[str]) -> Layout | None:
    """The layout of a layer with these children; None when it is not one we know."""
    layout = LAYOUTS.get(frozenset(norms))
    return layout if layout is not None and children >= set(layout) else None
