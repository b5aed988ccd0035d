"""Distillation on the student's own answers."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adapterhub import ConfigError
from adapterhub.method import BaseShape, Method, MethodConfig
from adapterhub.objective import IGNORED, Encoder, Fitting, Objective, ObjectiveBase, Run, on_head
from adapterhub.records import Chat, Pair
from adapterhub_distill.gkd_config import GkdConfig
from adapterhub_distill.vocabulary import vocabulary_differs

if TYPE_CHECKING:
    from adapterhub_distill.gkd_trainer import AnsweredRow


class Gkd(Objective[GkdConfig]):
    """The student answers, and comes to say each token of it as its teacher would there.

    Generalized knowledge distillation: Agarwal et al., On-Policy Distillation of Language Models, 2024.
    Of a conversation the last of the assistant's turns is answered. What is chosen by, and told, is the
    divergence on answers to the held-out prompts.
    """

    name = "gkd"
    Config = GkdConfig
    records = (Pair, Chat)
    summary = "on-policy distillation: answers that the student makes up itself, as a teacher would go on with them"

    def __init__(self) -> None:
        self._longest = 0
        """Tokens of a prompt with its answer, at most."""
        self._taught_by: dict[str, Any] = {}

    def refuses(
        self, config: GkdConfig, method: Method[Any], options: MethodConfig | None, shape: BaseShape | None
    ) -> str:
        if {"kv", "prompt"} & set(method.site_kinds):
            return "TRL's trainer takes no virtual tokens"
        if shape is not None and on_head(method, options, shape):
            return f"TRL's trainer takes no adapter on {shape.lm_head}; leave it out"
        return ""

    def record(self, config: GkdConfig) -> dict[str, Any]:
        """The teacher by what identifies it, and not by a path of this machine."""
        return {**super().record(config), **self._taught_by}

    def prepare(
        self, config: GkdConfig, records: Sequence[Any], encoder: Encoder, base: ObjectiveBase
    ) -> list[AnsweredRow]:
        """A row per record; an answer of the data that is too long is treated as `encoder.overlong` says."""
        from adapterhub import BaseModel

        if reason := vocabulary_differs(BaseModel.read_tokenizer(config.teacher), encoder.tokenizer):
            raise ConfigError(f"teacher: {config.teacher} has another vocabulary: {reason}", field="teacher")
        rows: list[AnsweredRow] = []
        for record in records:
            for example in encoder.rows(record, "last"):
                start = next(place for place, label in enumerate(example["labels"]) if label != IGNORED)
                encoder.check_length(start + config.max_new_tokens, record.line)
                ids = example["input_ids"]
                rows.append({"prompt_ids": ids[:start], "completion_ids": ids[start:]})
                self._longest = max(self._longest, start + config.max_new_tokens, len(ids))
        return rows

    def fitting(self, config: GkdConfig, run: Run) -> Fitting:
        from trl.trainer.distillation_config import DistillationConfig

        from adapterhub import BaseModel
        from adapterhub_distill.gkd_trainer import GkdTrainer

        teacher = BaseModel.load(config.teacher, quantization=config.quantization, device=str(run.device))
        model: Any = teacher.model
        room = getattr(model.config.get_text_config(), "max_position_embeddings", None) or math.inf
        if self._longest > room:
            raise ConfigError(
                f"teacher: {config.teacher} has {room} positions, and a prompt with its answer has up to "
                f"{self._longest} tokens",
                field="teacher",
            )
        self._taught_by = {"teacher": teacher.record.model_dump()}
        tokenizer: Any = copy.deepcopy(run.encoder.tokenizer)  # TRL writes into it
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
        settings = {
            "beta": config.beta,
            "temperature": config.temperature,
            "max_completion_length": config.max_new_tokens,
            "include_num_input_tokens_seen": "no",  # the trainer counts them
        }
        keywords = {"processing_class": tokenizer, "teacher": model, "student_share": config.student_share}
        return Fitting(GkdTrainer, DistillationConfig, settings, keywords)

    def tokens(self, row: AnsweredRow) -> Sequence[int]:
        return row["prompt_ids"] + row["completion_ids"]

    def steps(self, config: GkdConfig, examples: int, batch_size: int) -> int:
        """A rest of prompts that is no whole batch waits. Raises ConfigError where there is no whole batch."""
        if examples < batch_size:
            raise ConfigError(
                f"batch_size: a step answers {batch_size} prompts, the data have {examples}", field="batch_size"
            )
        return examples // batch_size
