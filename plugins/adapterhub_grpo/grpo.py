"""Group relative policy optimization."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from adapterhub import ConfigError
from adapterhub.method import BaseShape, Method, MethodConfig
from adapterhub.objective import Encoder, Fitting, Objective, ObjectiveBase, ObjectiveConfig, Run, on_head
from adapterhub.records import Pair
from adapterhub_grpo.reward import Reward

if TYPE_CHECKING:
    from adapterhub_grpo.grpo_trainer import AskedRow


class GrpoConfig(ObjectiveConfig):
    """Options of group relative policy optimization."""

    reward: str
    """The function that rates answers, as module:function; called as reward(prompts, completions, expected)."""
    num_generations: int = Field(default=8, ge=2)
    """Answers to each prompt that are compared with each other; divides the batch size, which counts answers."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Most tokens of an answer."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the sampling of answers."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Share of the probability that answers are sampled from."""
    beta: float = Field(default=0.0, ge=0)
    """How strongly the adapter is held to where it started, by the divergence from there."""
    loss_type: Literal["dapo", "grpo", "bnpo", "dr_grpo"] = "dapo"
    """What the loss is a mean of, by TRL's name: tokens of the step (dapo, bnpo), answers (grpo), neither (dr_grpo)."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """Whose spread of rewards a reward is measured in."""
    num_iterations: int = Field(default=1, ge=1)
    """Optimizer steps on each set of answers."""
    epsilon: float = Field(default=0.2, gt=0)
    """How far the probability of a token may move in these steps before it is clipped."""
    mask_truncated_completions: bool = False
    """Learn nothing from answers that did not end."""

    @field_validator("reward")
    @classmethod
    def _importable(cls, value: str) -> str:
        Reward(value)
        return value


class Grpo(Objective[GrpoConfig]):
    """Answers that are rated above the others to the same prompt become more probable (Shao et al., 2024)."""

    name = "grpo"
    Config = GrpoConfig
    records = (Pair,)
    summary = "reinforcement: answers that a function of yours rates higher than others to the same prompt"
    measure = "eval_reward"
    greater_is_better = True

    def refuses(
        self, config: GrpoConfig, method: Method[Any], options: MethodConfig | None, shape: BaseShape | None
    ) -> str:
        return on_head(method, options, shape)

    def prepare(
        self, config: GrpoConfig, records: Sequence[Pair], encoder: Encoder, base: ObjectiveBase
    ) -> list[AskedRow]:
        rows: list[AskedRow] = []
        for record in records:
            ids = encoder.prompt(record.prompt, record.line)
            encoder.check_length(len(ids) + config.max_new_tokens, record.line)
            rows.append({"prompt": record.prompt, "prompt_ids": ids, "expected": record.completion})
        return rows

    def fitting(self, config: GrpoConfig, run: Run) -> Fitting:
        from trl.trainer.grpo_config import GRPOConfig

        from adapterhub_grpo.grpo_trainer import AdapterGRPOTrainer

        if run.batch_size % config.num_generations:
            raise ConfigError(
                f"batch_size: {run.batch_size} answers are no groups of {config.num_generations} (num_generations); "
                f"accepted: a multiple of it",
                field="batch_size",
            )
        tokenizer: Any = copy.deepcopy(run.encoder.tokenizer)  # TRL writes into it
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
        settings = {
            **config.model_dump(exclude={"reward", "beta", "max_new_tokens"}),
            "max_completion_length": config.max_new_tokens,
            "beta": 0.0,
            "num_generations_eval": 1,
            "include_num_input_tokens_seen": "no",  # the trainer counts them
        }
        virtual = bool({"kv", "prompt"} & set(run.method.site_kinds))
        keywords = {
            "processing_class": tokenizer,
            "reward": Reward(config.reward),
            "beta": config.beta,
            "one_length": virtual,
        }
        return Fitting(AdapterGRPOTrainer, GRPOConfig, settings, keywords)

    def tokens(self, row: Mapping[str, Any]) -> Sequence[int]:
        ids: Sequence[int] = row["prompt_ids"]
        return ids

    def steps(self, config: GrpoConfig, examples: int, batch_size: int) -> int:
        """A step sees `batch_size` answers, to so many prompts as these are groups of; a rest of prompts waits.

        Raises ConfigError where there are fewer prompts than one step asks.
        """
        prompts = max(1, batch_size // config.num_generations)
        if examples < prompts:
            raise ConfigError(
                f"batch_size: a step of {batch_size} answers asks {prompts} prompts, the data have {examples}",
                field="batch_size",
            )
        return examples // prompts * config.num_iterations
