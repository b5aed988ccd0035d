"""One method with one set of options, on a tiny base, with adapters and requests that mix them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from peft import PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM

from adapterhub.adapter import Adapter, read_folder
from adapterhub.base import BaseModel
from adapterhub.engine import Engine, Request
from adapterhub.method import Method, MethodConfig, Params, Plan, Site
from adapterhub.peft import peft_config, register
from adapterhub.plugins import Methods
from adapterhub.testing.equality import Recorder, greedy, recording_engine
from adapterhub.testing.neighbour import Neighbour
from adapterhub.testing.random_adapter import save_random_adapter
from adapterhub.testing.tiny_base import save_tiny_llama

OWN, OTHER, NEIGHBOUR = "sha256:own", "sha256:other", "sha256:neighbour"
"""Two adapters of the method, and one of another method."""
NEW_TOKENS = 6
PROMPTS = (("", 40), ("", 9), (OWN, 23), (OTHER, 31), (NEIGHBOUR, 12), (OWN, 5), (NEIGHBOUR, 26), (OTHER, 17))
"""Adapter and prompt length of each request, base rows first; the first is the longest of all."""


@dataclass(frozen=True)
class ContractCase:
    """What the tests of `MethodContract` share. Made once for a set of options."""

    method: Method[Any]
    config: MethodConfig
    plan: Plan
    scale: float
    base_folder: Path
    base: BaseModel
    methods: Methods
    """The method and `Neighbour`."""
    folders: Mapping[str, Path]
    """By digest; as we save them."""
    adapters: Mapping[str, Adapter]
    requests: list[Request]

    @classmethod
    def make(
        cls,
        method: Method[Any],
        options: Mapping[str, Any],
        folder: Path,
        *,
        scale: float,
        made_by_peft: bool = False,
    ) -> Self:
        neighbour = Neighbour()
        for stranger in (method, neighbour):
            if not stranger.in_peft:
                register(stranger)
        config = method.Config.load(options, where=f"method {method.name}")
        base_folder = save_tiny_llama(folder / "base")
        base = BaseModel.load(str(base_folder), quantization="none")
        plan = method.plan(config, base.shape)
        folders = {
            OWN: folder / "own",
            OTHER: folder / "other",
            NEIGHBOUR: save_random_adapter(folder / "neighbour", neighbour, neighbour.Config(), base.shape, seed=3),
        }
        for seed, digest in enumerate((OWN, OTHER), start=1):
            if made_by_peft:
                adapted = _shaken(_fresh(_plain(base_folder), method, config), seed, scale)
                adapted.save_pretrained(str(folders[digest]), save_embedding_layers=False)
            else:
                save_random_adapter(folders[digest], method, config, base.shape, seed=seed, scale=scale)
        return cls(
            method=method,
            config=config,
            plan=plan,
            scale=scale,
            base_folder=base_folder,
            base=base,
            methods=Methods({one.name: one for one in (method, neighbour)}, ()),
            folders=folders,
            adapters={digest: replace(read_folder(folder), digest=digest) for digest, folder in folders.items()},
            requests=_requests(plan, base.shape.vocab_size),
        )

    @contextmanager
    def engine(self, step_tokens: int) -> Iterator[tuple[Engine, Recorder]]:
        """An engine with all adapters resident."""
        with recording_engine(self.base, self.adapters, step_tokens=step_tokens, methods=self.methods) as both:
            yield both

    def bound(self, site: Site, generator: torch.Generator) -> Params:
        """What the method's functions get as `p` at a site, of random tensors."""
        shared: Params = {}
        for one in self.plan.sites:
            if one.kind == "shared" or one is site:
                needed = {name: param.shape for name, param in one.params.items() if not param.optional}
                own = {name: torch.randn(size, generator=generator) * self.scale for name, size in needed.items()}
                shared = self.method.bind(self.config, one, {**shared, **own}, self.base.weights)
        return shared

    def plain(self) -> nn.Module:
        """The base as transformers loads it, for PEFT to wrap."""
        return _plain(self.base_folder)

    def fresh(self, model: nn.Module) -> PeftModel:
        """A new adapter of the case's config on `model`."""
        return _fresh(model, self.method, self.config)

    def loaded(self, folder: Path) -> PeftModel:
        """The adapter in a folder, on a base of its own, as PEFT loads it."""
        adapted: PeftModel = PeftModel.from_pretrained(self.plain(), str(folder))
        return adapted

    def shaken(self, adapted: PeftModel) -> PeftModel:
        """The same model with noise on every tensor that learns."""
        return _shaken(adapted, 4, self.scale)

    def save(self, adapted: PeftModel, folder: Path) -> Adapter:
        """What PEFT writes of the adapter."""
        adapted.save_pretrained(str(folder), save_embedding_layers=False)
        return read_folder(folder)


def _plain(folder: Path) -> nn.Module:
    model: nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model


def _fresh(model: nn.Module, method: Method[Any], config: MethodConfig) -> PeftModel:
    adapted: PeftModel = get_peft_model(model, peft_config(method, config))
    return adapted


def _shaken(adapted: PeftModel, seed: int, scale: float) -> PeftModel:
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn(parameter.shape, generator=generator) * scale
    return adapted


def _requests(plan: Plan, vocab: int) -> list[Request]:
    generator = torch.Generator().manual_seed(0)
    requests = []
    for index, (adapter, length) in enumerate(PROMPTS):
        count = length + plan.virtual_tokens * (index == 0)
        requests.append(greedy(torch.randint(2, vocab, (count,), generator=generator), adapter, NEW_TOKENS))
    return requests
