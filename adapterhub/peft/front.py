"""Virtual tokens in front of the prompt: what kv and prompt sites do to a model's forward.

The hooks on the model supply virtual embeddings or keys and values, and lengthen mask, positions
and labels by as much; the logits that come back are those of the real tokens. With a cache that is
not empty, as in `generate`, the virtual tokens are in it already.

What is not covered: masks of more than two dimensions, outputs as tuples, and hidden states and
attentions, which are reported with the virtual positions.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from adapterhub.errors import PluginError, UnsupportedAdapterError
from adapterhub.method import BaseShape, BaseWeights, Method
from adapterhub.peft.site_tensors import SiteTensors

IGNORED = -100
"""The label that transformers leaves out of a loss."""


class Front(SiteTensors):
    """The kv or prompt sites of a model's adapters. One adapter with such a site is active at a time."""

    def __init__(
        self, model: nn.Module, method: Method[Any], shape: BaseShape, weights: BaseWeights, device: torch.device
    ) -> None:
        super().__init__(method, weights, device)
        self._shape = shape
        self._length: int | None = None
        """Real tokens of the call under way, when its logits hold virtual ones too."""
        self._drop_cache = False
        """The call under way asked for no cache, and gets back none."""
        self._arguments = list(inspect.signature(model.forward).parameters)
        self._hooks = [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after),
        ]

    def remove(self) -> None:
        """Take the hooks off the model."""
        for hook in self._hooks:
            hook.remove()

    def _before(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._length, self._drop_cache = None, False
        acting = self.acting()
        if not acting:
            return None
        if len(acting) > 1:
            raise UnsupportedAdapterError(f"adapters {', '.join(acting)}: only one with virtual tokens can be active")
        call = dict(zip(self._arguments, args, strict=False)) | kwargs
        site = self.sites[acting[0]]
        cache = call.get("past_key_values")
        fresh = cache is None or cache.get_seq_length() == 0
        if fresh and site.kind == "kv":
            call["past_key_values"] = self._filled(model, acting[0], call)
        if fresh and site.kind == "prompt":
            self._put_embeddings(model, acting[0], call)
        _lengthen(call, site.virtual_tokens, rows=fresh and site.kind == "prompt")
        return (), call

    def _after(self, model: Any, args: Any, output: Any) -> Any:
        if self._length is None and not self._drop_cache:
            return None
        if isinstance(output, tuple):
            raise UnsupportedAdapterError("virtual tokens need a model that returns a ModelOutput (return_dict)")
        if self._length is not None and (logits := getattr(output, "logits", None)) is not None:
            output.logits = logits[:, -self._length :]  # TRL asks for log-probabilities in their place, and cuts them
        if self._drop_cache:
            output.past_key_values = None
        return output

    def _put_embeddings(self, model: Any, adapter: str, call: dict[str, Any]) -> None:
        """Virtual embeddings before the real ones, and what of the logits is asked for accordingly."""
        ids = call.pop("input_ids", None)
        real: Tensor = call["inputs_embeds"] if ids is None else model.get_input_embeddings()(ids)
        n = self.sites[adapter].virtual_tokens
        virtual = self.method.prompt(self.configs[adapter], self.bound(adapter))
        self._check("prompt", virtual, (n, self._shape.hidden_size))
        call["inputs_embeds"] = torch.cat([virtual.to(real.dtype).expand(len(real), -1, -1), real], dim=1)
        if (labels := call.get("labels")) is not None:
            call["labels"] = torch.cat([labels.new_full((len(labels), n), IGNORED), labels], dim=1)
        if isinstance(kept := call.get("logits_to_keep"), Tensor):
            call["logits_to_keep"] = kept + n
        else:
            self._length = real.shape[1]

    def _filled(self, model: Any, adapter: str, call: dict[str, Any]) -> Any:
        """A cache that holds the virtual tokens' keys and values for every row of the batch."""
        if model.training and any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
            raise UnsupportedAdapterError(
                f"method {self.method.name!r}: keys and values in front are lost under gradient checkpointing; "
                "switch it off"
            )
        shape, n = self._shape, self.sites[adapter].virtual_tokens
        kv = self.method.kv(self.configs[adapter], self.bound(adapter), shape)
        self._check("kv", kv, (shape.num_layers, 2, shape.num_kv_heads, n, shape.head_dim))
        kv = kv.to(model.dtype)
        batch = len(call["inputs_embeds"] if call.get("input_ids") is None else call["input_ids"])
        if (cache := call.get("past_key_values")) is None:
            cache = DynamicCache()
            wanted = call.get("use_cache")
            self._drop_cache = not (model.config.use_cache if wanted is None else wanted)
        for layer, (keys, values) in enumerate(kv):
            cache.update(keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1), layer)
        return cache

    def _check(self, function: str, tensor: Tensor, size: tuple[int, ...]) -> None:
        if tensor.shape != size:
            raise PluginError(f"method {self.method.name!r}: {function} gave {tuple(tensor.shape)}; need {size}")


def _lengthen(call: dict[str, Any], n: int, *, rows: bool) -> None:
    """Mask and positions for `n` virtual tokens; with `rows`, they are rows of this very call."""
    if (mask := call.get("attention_mask")) is not None:
        if mask.ndim != 2:
            raise UnsupportedAdapterError(f"an attention mask of {mask.ndim} dimensions; need [batch, tokens]")
        call["attention_mask"] = torch.cat([mask.new_ones(len(mask), n), mask], dim=1)
    if (positions := call.get("position_ids")) is not None:
        positions = positions + n
        if rows:
            front = torch.arange(n, device=positions.device).expand(len(positions), -1)
            positions = torch.cat([front, positions], dim=1)
        call["position_ids"] = positions
