"""TRL's on-policy distillation over adapters."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import torch
from datasets import Dataset
from torch import Tensor
from trl.trainer.distillation_trainer import DistillationTrainer

from adapterhub import collate, learned_logits
from adapterhub.objective import IGNORED, Example
from adapterhub_distill.divergence import summed_jensen_shannon


class AnsweredRow(TypedDict):
    """One prompt to be answered."""

    prompt_ids: list[int]
    """Those that serving has."""
    completion_ids: list[int]
    """The answer of the data, with its closing token."""


class GkdTrainer(DistillationTrainer):
    """On prompts whose token ids are known, by the logits of both models.

    TRL computes the divergence from the heads' weights, behind the models' own forward, on prompts padded
    in front. Here both models are asked as they are, so that nothing on their way to the logits is left out
    (an adapter's own inputs, a head in few bits, scaled or capped logits), and on rows that begin at position 0.
    """

    def __init__(
        self,
        *,
        train_dataset: Sequence[AnsweredRow],
        eval_dataset: Sequence[AnsweredRow] | None,
        teacher: Any,
        student_share: float,
        **settings: Any,
    ) -> None:
        """`teacher`: a frozen model with the student's vocabulary; `student_share`: of the steps."""
        self._rows = [*train_dataset, *(eval_dataset or ())]
        self._answered: list[AnsweredRow] = []
        self._student_share = student_share
        learned = len(train_dataset)
        super().__init__(
            train_dataset=_numbers(range(learned)),
            eval_dataset=_numbers(range(learned, len(self._rows))) if eval_dataset else None,
            **settings,
        )
        self.teacher_model = teacher

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The divergence on the student's answers; the same draws each time."""
        with torch.random.fork_rng():
            torch.manual_seed(self.args.seed)
            found: dict[str, float] = super().evaluate(*args, **kwargs)
        return found

    def _prepare_inputs(self, *args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated")  # TRL stops it meanwhile
            return super()._prepare_inputs(*args, **kwargs)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Of prompts by their row's number."""
        self._answered = [self._rows[int(prompt)] for prompt in prompts]
        return [row["prompt_ids"] for row in self._answered], None, {}

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> list[list[int]]:
        """Answers without dropout; or, of so many training steps, those of the data."""
        model: Any = self.model
        training = model.training
        if training and float(torch.rand(())) >= self._student_share:
            return [row["completion_ids"] for row in self._answered]
        model.eval()
        try:
            generate: Any = super()._generate_single_turn
            answers: list[list[int]] = generate(*args, **kwargs)
        finally:
            model.train(training)
        return answers

    def _compute_loss(
        self, student: Any, inputs: Mapping[str, Any], num_items_in_batch: Tensor | int | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The divergence over so many tokens, or those of the batch; the student's entropies, summed; the tokens."""
        rows = _rows(inputs)
        batch = {name: tensor.to(self.accelerator.device) for name, tensor in collate(rows).items()}
        ours, tokens = learned_logits(student, batch)
        with torch.no_grad():
            theirs, _ = learned_logits(self.teacher_model, batch)
        shared = min(ours.shape[1], theirs.shape[1])  # what is beyond stands for no token, and pads the table
        ours, theirs = ours[:, :shared], theirs[:, :shared]
        divergence = summed_jensen_shannon(ours, theirs, self.beta, self.temperature)
        log_q = (ours.detach() / self.temperature).log_softmax(-1)
        count = torch.tensor(len(tokens), device=divergence.device)
        return divergence / (num_items_in_batch or count), -(log_q.exp() * log_q).sum(), count


def _numbers(rows: range) -> Dataset:
    """What TRL hands on as the prompts."""
    return Dataset.from_list([{"prompt": str(number)} for number in rows])


def _rows(inputs: Mapping[str, Any]) -> list[Example]:
    """A batch of TRL's without its padding."""
    prompts, answers = (
        [ids[mask.bool()].tolist() for ids, mask in zip(inputs[f"{part}_ids"], inputs[f"{part}_mask"], strict=True)]
        for part in ("prompt", "completion")
    )
    return [
        Example(input_ids=prompt + answer, labels=[IGNORED] * len(prompt) + answer)
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
