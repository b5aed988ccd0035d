"""One step: packed rows through the base, adapters at their sites, logits of the sampled rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adapterhub.base import BaseModel
from adapterhub.engine import attention
from adapterhub.engine.attention import AttentionMap
from adapterhub.engine.captured import Captured
from adapterhub.engine.decode_inputs import DecodeInputs
from adapterhub.engine.decoder import Decoder
from adapterhub.engine.kv_cache import KVCache
from adapterhub.engine.recorder import Recorder
from adapterhub.engine.routing import Routing
from adapterhub.engine.sequence import Chunk
from adapterhub.engine.sites import Sites
from adapterhub.errors import ConflictError
from adapterhub.ops import AdapterKernels
from adapterhub.ops.cuda import CudaKernels


class Runner:
    """Owns the use of the model while the engine lives: its attention function and its hooks."""

    def __init__(self, base: BaseModel, cache: KVCache, recorder: Recorder | None = None) -> None:
        """With a recorder, decode steps are captured; the cache has a spare place then."""
        self._model: Any = base.model
        self._device = base.device
        self._row_dtype = base.row_dtype
        self._kernels = base.kernels
        self._cache = cache
        self._own_attention = ""
        self.sites = Sites(base.model, base.shape, base.adapter_kernels)
        self._decoder = Decoder.of(base, self.sites, cache)
        """Runs the layers in place of the model's own modules, where it can."""
        self._captured = self._capturing(recorder, base.adapter_kernels) if recorder else None

    def open(self) -> None:
        """Take the model over. Raises ConflictError when another engine has it."""
        self._own_attention = self._model.config._attn_implementation
        check_free(self._model)
        self._model.set_attn_implementation(attention.NAME)

    def close(self) -> None:
        """Give the model back as it was."""
        if self._captured:
            self._captured.close()
        self.sites.detach()
        self._model.set_attn_implementation(self._own_attention)

    @torch.inference_mode()
    def run(self, chunks: list[Chunk]) -> tuple[Tensor, Routing]:
        """Compute a step. Returns the logits of the rows that reach the head, `[heads, vocab]` in fp32, in order."""
        routing = Routing.of(chunks)
        logits = self._captured.run(chunks, routing) if self._captured else None
        return self._eager(chunks, routing) if logits is None else logits, routing

    def _eager(self, chunks: list[Chunk], routing: Routing) -> Tensor:
        """Compute a step whose shapes are its own. Returns as `run`."""
        ids = torch.tensor([token for chunk in chunks for token in chunk.input_ids()], device=self._device)
        places = [place for chunk in chunks for place in range(chunk.start, chunk.stop)]
        positions = torch.tensor(places, device=self._device)
        heads: list[int] = []
        row = 0
        for chunk in chunks:
            row += chunk.stop - chunk.start
            heads += range(row - chunk.num_heads, row)
        self.sites.begin(routing)
        attention_map = AttentionMap.of(chunks, self._cache, self._row_dtype, self._kernels)
        # a head over no rows at all is not every kernel's idea of a matmul
        kept = torch.tensor(heads or [row - 1], device=self._device)
        try:
            logits = self._logits(self._embed(ids, chunks), positions, attention_map, kept)
        finally:
            self.sites.end()
        return logits[: len(heads)].float()

    def _capturing(self, recorder: Recorder, kernels: AdapterKernels | None) -> Captured:
        assert kernels is None or isinstance(kernels, CudaKernels), "no other kernels' launches can be recorded"
        return Captured(recorder, self.sites, kernels, self._cache, decode=self._decode, eager=self._eager)

    def _decode(self, inputs: DecodeInputs) -> Tensor:
        """Logits of padded rows of tokens, [rows, vocab], all of which reach the head."""
        attention_map = inputs.attention_map(self._row_dtype)
        return self._logits(self._embed(inputs.ids, []), inputs.positions, attention_map, inputs.rows)

    def _logits(self, embedded: Tensor, positions: Tensor, attention_map: AttentionMap, kept: Tensor) -> Tensor:
        """The logits of rows `kept`, [kept, vocab], of rows [rows, hidden] at `positions`."""
        if self._decoder:
            return self._decoder.run(embedded, positions, attention_map, kept)
        output = self._model(
            inputs_embeds=embedded.unsqueeze(0),
            position_ids=positions.unsqueeze(0),
            use_cache=False,
            attention_map=attention_map,
            logits_to_keep=kept,
        )
        logits: Tensor = output.logits[0]
        return logits

    def _embed(self, ids: Tensor, chunks: list[Chunk]) -> Tensor:
        """Embeddings of the rows, `[rows, hidden]`: the table's, or an adapter's virtual ones."""
        embedded: Tensor = self._model.get_input_embeddings()(ids.unsqueeze(0))[0]
        row = 0
        for chunk in chunks:
            virtual = chunk.virtual_rows()
            if virtual is not None:
                embedded[row : row + len(virtual)] = virtual
            row += chunk.stop - chunk.start
        return embedded


def check_free(model: Any) -> None:
    """Raises ConflictError when an engine has taken the model over: two would run each other's adapters."""
    if model.config._attn_implementation == attention.NAME:
        raise ConflictError("the base is in use by another engine; close that one first, or load the base again")
