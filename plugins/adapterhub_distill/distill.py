"""Distillation on given responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from adapterhub import ConfigError
from adapterhub.objective import Encoder, LossObjective, ObjectiveBase, Run
from adapterhub.records import Chat, Pair
from adapterhub_distill.config import DistillConfig
from adapterhub_distill.vocabulary import vocabulary_differs

if TYPE_CHECKING:
    from torch import Tensor

    from adapterhub import BaseModel
    from adapterhub_distill.teacher import Head, Teacher


class Distill(LossObjective[DistillConfig]):
    """`(1 - alpha) T^2 KL(teacher || student) + alpha CE` on every learned token of given responses.

    KL is between the two distributions of the next token, both at temperature T (Hinton, Vinyals, Dean,
    2015); CE is the response loss of sft, at temperature 1. Both models see the same token ids.

    What is not covered: responses that the student makes up while it learns (on-policy), which are `gkd`'s.
    """

    name = "distill"
    Config = DistillConfig
    records = (Pair, Chat)
    summary = "distillation: give these responses as a teacher would, token by token"

    def __init__(self) -> None:
        self._model: BaseModel | None = None
        """A teacher of its own, between the two sides of the data."""
        self._head: Head | None = None
        """What its answers are read with; None where they are logits."""
        self._kept = False
        """Whether the head is safe from what is trained."""
        self._taught_by: dict[str, Any] = {}

    def record(self, config: DistillConfig) -> dict[str, Any]:
        """The teacher by what identifies it, and not by a path of this machine."""
        return {**super().record(config), **self._taught_by}

    def prepare(
        self, config: DistillConfig, records: Sequence[Any], encoder: Encoder, base: ObjectiveBase
    ) -> list[Any]:
        rows: list[Any] = [row for record in records for row in encoder.rows(record, config.turns)]
        with self._teacher(config, encoder, base) as teacher:
            answers = teacher.ask(rows)
        self._head = teacher.head if teacher.answers_hidden else None
        return [{**row, "teacher": answer} for row, answer in zip(rows, answers, strict=True)]

    def collate(self, config: DistillConfig, rows: Sequence[Any]) -> dict[str, Tensor]:
        """As of any loss over tokens, and `teacher`: what it said of each learned token, row by row."""
        import torch

        return {**super().collate(config, rows), "teacher": torch.cat([row["teacher"] for row in rows])}

    def loss(self, config: DistillConfig, run: Run, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
        from torch.nn.functional import cross_entropy

        from adapterhub import learned_logits
        from adapterhub_distill.divergence import summed_divergence

        self._model = None  # it was asked about both sides
        student, tokens = learned_logits(model, batch)
        teacher = self._read(run, batch["teacher"])
        shared = min(student.shape[1], teacher.shape[1])  # what is beyond stands for no token, and pads the table
        divergence = summed_divergence(student[:, :shared], teacher[:, :shared], config.temperature)
        return (1 - config.alpha) * divergence + config.alpha * cross_entropy(student, tokens, reduction="sum")

    def _read(self, run: Run, answers: Tensor) -> Tensor:
        """The teacher's logits, [learned, vocab] in fp32."""
        import torch

        if self._head is None:
            return answers.float()
        if torch.is_grad_enabled() and not self._kept:
            self._head.keep_from(run.model)
            self._kept = True
        return self._head(answers)

    @contextmanager
    def _teacher(self, config: DistillConfig, encoder: Encoder, base: ObjectiveBase) -> Iterator[Teacher]:
        """Raises ConfigError for a teacher of another vocabulary, and as the store and `BaseModel.load`."""
        from adapterhub import BaseModel, Store
        from adapterhub_distill.teacher import Teacher

        if config.teacher is None:
            pinned = self._taught_by.get("teacher_adapter") or str(Store.default().pin(str(config.teacher_adapter)))
            self._taught_by = {"teacher_adapter": pinned}  # the same for both sides, wherever the tag moves
            head = base.model.get_output_embeddings()
            with base.adapted(pinned) as adapted:
                yield Teacher(adapted, head, base.device, name=pinned)
            return
        if self._model is None:
            if reason := vocabulary_differs(BaseModel.read_tokenizer(config.teacher), encoder.tokenizer):
                raise ConfigError(f"teacher: {config.teacher} has another vocabulary: {reason}", field="teacher")
            self._model = BaseModel.load(
                config.teacher, quantization=config.quantization or "none", device=str(base.device)
            )
            self._taught_by = {"teacher": self._model.record.model_dump()}
        model: Any = self._model.model
        yield Teacher(model, model.get_output_embeddings(), base.device, name=config.teacher)
