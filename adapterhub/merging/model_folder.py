"""A merged model as a folder that transformers loads: config, safetensors, tokenizer, generation config, card."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from adapterhub import __version__
from adapterhub.base.weights import weight_files

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from adapterhub.merging.merged import Merged

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
"""Of safetensors; weights in others, of which there are none that are not quantized, are written in fp32."""


def round_to_files(model: nn.Module, base: Path) -> torch.dtype:
    """Round the parameters, in place and still in fp32, to the dtype that most weights of the base's files have."""
    counts: Counter[str] = Counter()
    for path in weight_files(base):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  (safe_open is no mapping)
                tensor = file.get_slice(name)
                counts[tensor.get_dtype()] += torch.Size(tensor.get_shape()).numel()
    dtype = DTYPES.get(counts.most_common(1)[0][0], torch.float32)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype).float()
    return dtype


def untie(model: Any, head: Any) -> None:
    """`head`, the model's own under what PEFT put around it, gets a copy of the embedding table it is tied to.

    What is merged into one of them is not the other's.
    """
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    _say_tied(model, False)


def tie_again(model: Any) -> None:
    """One tensor for head and embedding table where they are still equal."""
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    if torch.equal(head.weight, table.weight):
        head.weight = table.weight
        _say_tied(model, True)


def _say_tied(model: Any, tied: bool) -> None:
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = tied


def write_model(
    model: Any, tokenizer: PreTrainedTokenizerBase, into: Path, *, dtype: torch.dtype = torch.float32
) -> None:
    """Write `model`, whose floating parameters have values of `dtype`, and the tokenizer. Raises OSError."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    model.config.dtype = dtype
    try:
        model.save_pretrained(into)
    except SafetensorError as error:  # a full disk too
        raise OSError(str(error)) from None
    tokenizer.save_pretrained(into)


def write_card(merged: Merged, into: Path) -> None:
    """Say what the model is made of, in README.md."""
    adapter, drift = merged.adapter, merged.drift
    revision = f" at {merged.base.revision}" if merged.base.revision else ""
    record = adapter.provenance.model_dump() if adapter.provenance else {}
    weights = [str(merged.dtype).removeprefix("torch."), *(["nf4"] if merged.requantized == "nf4" else [])]
    held = f", held as {merged.requantized}" if merged.requantized else ""
    card = f"""# A merged model

A base model with an adapter merged into its weights by adapterhub {__version__}. It needs neither to run.

| | |
|---|---|
| base | `{_plain(merged.base.id)}`{_plain(revision)}, `{merged.base.digest}`{held} |
| adapter | `{adapter.digest or "no digest"}`, `{_plain(adapter.peft_type)}` |
| weights | {", ".join(weights)} |
| drift | mean {drift.mean:.3g}, at most {drift.max:.3g} of logits up to {drift.largest_logit:.3g} |
| the same next token | after {drift.top1_agreement:.2%} of {drift.tokens} tokens of general text |

The drift is that of this model's logits from the base's{held} with the adapter beside it.

The adapter's own record:

```json
{json.dumps(record, indent=2, sort_keys=True)}
```
"""
    (into / "README.md").write_text(card, encoding="utf-8")


def _plain(text: str) -> str:
    """`text` without what would end a cell of the table."""
    return "".join(c for c in text if c.isprintable() and c not in "|`")
