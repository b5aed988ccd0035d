"""Several adapters of one base combined into a new one, by PEFT's `add_weighted_adapter`.

    cat      s B A = sum_i w_i s_i B_i A_i, exactly; the rank is the sum of theirs
    svd      the nearest update to that sum of a given rank
    linear   A = sum_i sqrt(w_i s_i) A_i, and so B: not the sum of the updates, which have cross terms
    ties, dare_*, magnitude_prune    as linear, on values pruned to a density; with _svd on whole updates

PEFT is given the base's modules without their weights, so none is read.

Sources: TIES: Yadav et al. 2023 (arXiv:2306.01708); DARE: Yu et al. 2023 (arXiv:2311.03099).

What is not covered: methods other than LoRA and IA3, and of LoRA what is more than A and B (DoRA, biases,
modules saved whole, activated LoRA): PEFT would drop it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import nn

from adapterhub.adapter import (
    CONFIG_FILE,
    PROVENANCE_FILE,
    TENSORS_FILE,
    Adapter,
    BaseRecord,
    Provenance,
    read_folder,
    write_json,
)
from adapterhub.base import EmptyBase
from adapterhub.merging.combination import Combination, Part
from adapterhub.merging.member import Member, chosen, one_base
from adapterhub.merging.reference import peft_refuses
from adapterhub.method import Plan
from adapterhub.peft.portable import portable
from adapterhub.peft.quiet_peft import quiet_peft

NEW = "combined"


class Combined(NamedTuple):
    """A new adapter in a folder, checked against its plan."""

    adapter: Adapter
    warnings: tuple[str, ...]


def combine(parts: Sequence[Part], combination: Combination, into: Path, *, base: str = "") -> Combined:
    """Write the combination of `parts` to the empty folder `into`; `base` by default as the first one records it.

    Only the base's config is read. Raises InvalidInputError, UnsupportedAdapterError naming what cannot be
    combined, BaseMismatchError for adapters of different bases, and as `EmptyBase.read`.
    """
    record = one_base(parts)
    empty = EmptyBase.read(base or record.ref)
    members = [Member.of(part, empty.shape, record.id) for part in parts]
    combination = chosen(members, combination, empty.shape)
    adapted = _combined(empty, members, combination)
    config: Any = adapted.peft_config[NEW]
    method, options = members[0].method, members[0].options
    save_file(_tensors(adapted), into / TENSORS_FILE, metadata={"format": "pt"})
    write_json(into / CONFIG_FILE, portable(config, config.to_dict(), type(options), base=record.id))
    write_json(into / PROVENANCE_FILE, _provenance(members, combination, record).model_dump())
    adapter = read_folder(into)
    saved = method.Config.from_peft(adapter.config, where=str(into / CONFIG_FILE))
    adapter.check_plan(method.plan(saved, empty.shape), base=record.id)
    told = "they do not agree on a prompt format, so the new adapter records none: name it at each request"
    return Combined(adapter, () if adapter.prompt_format else (told,))


def _combined(empty: EmptyBase, members: Sequence[Member], combination: Combination) -> Any:
    """The base's modules with all adapters and the new one."""
    model = _without_weights(empty.model)
    names = [f"part{index}" for index in range(len(members))]
    with TemporaryDirectory(prefix="adapterhub-combine-") as scratch, quiet_peft(), torch.random.fork_rng(devices=[]):
        adapted: Any = None
        for name, member in zip(names, members, strict=True):
            folder = Path(scratch) / name
            folder.mkdir()
            member.part.adapter.copy_to(folder)
            with peft_refuses(str(member.part.ref)):
                if adapted is None:
                    adapted = PeftModel.from_pretrained(model, str(folder), adapter_name=name)
                else:
                    adapted.load_adapter(str(folder), name)
                if member.part.adapter.peft_type == "LORA":
                    _spell_out(adapted.peft_config[name], member.plan)
        how: dict[str, Any] = {}
        if members[0].part.adapter.peft_type == "LORA":
            how = {
                "combination_type": combination.kind,
                "density": combination.density,
                "svd_rank": combination.rank,
                "svd_full_matrices": False,
            }
        weights = [member.part.weight for member in members]
        with peft_refuses("the adapters"):
            torch.manual_seed(combination.seed or 0)
            adapted.base_model.add_weighted_adapter(names, weights, NEW, **how)
    return adapted


def _spell_out(config: Any, plan: Plan) -> None:
    """Whole names in place of patterns, whose union PEFT could not form; scalings are in the values it combines."""
    config.target_modules = {site.module for site in plan.sites}
    config.exclude_modules = config.layers_to_transform = config.layers_pattern = None
    config.use_rslora = False


def _without_weights(model: nn.Module) -> nn.Module:
    """Every parameter of `model`, which is on the meta device, as one zero that looks as large as it is."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = nn.Parameter(torch.zeros(()).expand(parameter.shape), requires_grad=False)
    return model


def _tensors(adapted: PeftModel) -> dict[str, torch.Tensor]:
    found = get_peft_model_state_dict(adapted, adapter_name=NEW, save_embedding_layers=False)
    return {key: tensor.detach().float().contiguous().clone() for key, tensor in found.items()}


def _provenance(members: Sequence[Member], combination: Combination, record: BaseRecord) -> Provenance:
    """One way of holding the base, and of prompting, where all agree on it."""
    held = {found.quantization for member in members if (found := member.part.adapter.provenance)}
    formats = {member.part.adapter.prompt_format for member in members}
    return Provenance(
        method=members[0].method.name,
        base=record,
        quantization=held.pop() if len(held) == 1 else "",
        prompt_format=formats.pop() if len(formats) == 1 else None,
        training={
            "objective": "combination",
            "combination": combination.kind,
            "weights": [member.part.weight for member in members],
            **combination.model_dump(include={"density", "rank"}, exclude_none=True),
        },
        seeds={"combination": combination.seed or 0} if combination.draws else {},
        parents=tuple(str(member.part.ref) for member in members),
        versions={name: version(name) for name in ("adapterhub", "peft", "torch")},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
