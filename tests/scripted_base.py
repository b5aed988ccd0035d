"""A base that says what a test wants it to say: a real Llama whose weights make each token follow one other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from chat_templates import tokenizer
from transformers import LlamaForCausalLM

from adapterhub.testing import save_tiny_llama


def save_scripted_base(folder: Path, template: str, says: Sequence[str], special: Sequence[str] = ()) -> Path:
    """It answers every chat with the texts `says`, each a token of its own, and ends; `special` of them are special.

    The layers add nothing to a token's embedding, and the head maps the embedding of each token of the answer to the
    next one; of a prompt it sees only the blank that ends it.
    """
    save_tiny_llama(folder)
    made = tokenizer(folder, template, *special)
    made.add_tokens([text for text in says if text not in special])
    made.save_pretrained(folder)
    model: Any = LlamaForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(made), mean_resizing=False)
    chain = [made(" ")["input_ids"][-1], *made.convert_tokens_to_ids(list(says)), made.eos_token_id]
    assert len(set(chain)) == len(chain)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        torch.nn.init.normal_(model.model.embed_tokens.weight)
        model.lm_head.weight.zero_()
        for token, following in itertools.pairwise(chain):
            model.lm_head.weight[following] = model.model.embed_tokens.weight[token]
    model.save_pretrained(folder)
    return folder
