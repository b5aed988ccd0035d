"""TRL's GRPO over adapters of any method."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from datasets import Dataset
from torch import Tensor
from trl.trainer.grpo_trainer import GRPOTrainer

from adapterhub import ConfigError, tensors_kept
from adapterhub_grpo.reward import Reward
from adapterhub_grpo.start_policy import StartPolicy


class AskedRow(TypedDict):
    """One prompt to be answered."""

    prompt: str
    prompt_ids: list[int]
    """Those that serving has."""
    expected: str
    """What the data answer, for the reward."""


class AdapterGRPOTrainer(GRPOTrainer):
    """On prompts whose token ids are known, with the policy at the start of the run as the reference.

    No position of a prompt depends on what stands beside it in the batch: TRL pads prompts in front,
    which moves tokens away from virtual ones, and off the positions that serving has.
    """

    def __init__(
        self,
        *,
        model: Any,
        args: Any,
        train_dataset: Sequence[AskedRow],
        eval_dataset: Sequence[AskedRow] | None,
        reward: Reward,
        beta: float,
        one_length: bool,
        **settings: Any,
    ) -> None:
        """`one_length`: only prompts of one length are generated for at once, so that nothing is padded.

        `args.beta` is 0 whatever `beta` is: for another TRL adds a second adapter to the model, made anew.
        """
        held_out = list(eval_dataset or ())
        self._ids = {row["prompt"]: row["prompt_ids"] for row in [*train_dataset, *held_out]}
        self._reward = reward
        self._one_length = one_length
        self._validation: list[float] = []
        rewards: list[Any] = [self._score]
        with tensors_kept(model):
            super().__init__(
                model=model,
                args=args,
                reward_funcs=rewards,
                train_dataset=Dataset.from_list([dict(row) for row in train_dataset]),
                eval_dataset=Dataset.from_list([dict(row) for row in held_out]) if held_out else None,
                **settings,
            )
        self.beta = beta
        if beta:
            if self.is_fsdp_enabled:
                raise ConfigError("beta: the start of a run is not kept under FSDP; accepted: 0", field="beta")
            start: Any = StartPolicy(model)
            self.ref_model = start

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """With `eval_reward`, the mean reward of one answer to each held-out prompt; the same draws each time."""
        self._validation = []
        with torch.random.fork_rng():
            torch.manual_seed(self.args.seed)
            metrics: dict[str, float] = super().evaluate(*args, **kwargs)
        metrics["eval_reward"] = sum(self._validation) / len(self._validation)
        return metrics

    def _prepare_inputs(self, *args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated")  # TRL stops it meanwhile
            warnings.filterwarnings("ignore", "Position ids are not supported")  # nor needed: nothing is padded then
            return super()._prepare_inputs(*args, **kwargs)

    def _score(self, prompts: list[str], completions: list[str], expected: list[str], **others: Any) -> list[float]:
        return self._reward(prompts, completions, expected)

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        rewards: Tensor = super()._calculate_rewards(*args, **kwargs)
        model: Any = self.model
        if not model.training:
            self._validation += rewards[:, 0].tolist()
        return rewards

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self._ids[prompt] for prompt in prompts], None, {}

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        """Answers without dropout, in the prompts' order; of one length at a time where that is needed."""
        groups: dict[int, list[int]] = defaultdict(list)
        for place, ids in enumerate(prompt_ids):
            groups[len(ids) if self._one_length else 0].append(place)
        answers: list[Any] = [None] * len(prompt_ids)
        model: Any = self.model
        training = model.training
        model.eval()
        generate: Any = super()._generate_single_turn
        try:
            for places in groups.values():
                found, _ = generate([prompt_ids[place] for place in places], *args, **kwargs)
                for place, answer in zip(places, found, strict=True):
                    answers[place] = answer
        finally:
            model.train(training)
        return answers, None

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> Any:
        """Log-probabilities of the answers' tokens, [rows, logits_to_keep], with each row moved to the front."""
        length = input_ids.shape[1]
        pads = attention_mask.argmax(dim=1, keepdim=True)  # in front of the prompt: [rows, 1]
        places = torch.arange(length, device=input_ids.device)
        moved = (places + pads) % length
        found, entropies, extra = super()._get_per_token_logps_and_entropies(
            model, input_ids.gather(1, moved), attention_mask.gather(1, moved), length - 1, *args, **kwargs
        )
        # The i-th of `found` is of token i + 1.
        back = places[length - logits_to_keep :] - pads - 1
        return found.gather(1, back), None if entropies is None else entropies.gather(1, back), extra
