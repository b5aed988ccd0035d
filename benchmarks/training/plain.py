"""A user's script: transformers, PEFT and TRL's `SFTTrainer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback, set_seed
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from benchmarks.training.protocol import Spec, Step, drive, now


class Clock(TrainerCallback):
    """Notes when each step was over."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._tokens = 0

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            tokens = int(logs["num_tokens"])  # since the start
            self.steps.append(now(tokens - self._tokens, logs["loss"]))
            self._tokens = tokens


def train(spec: Spec, into: Path) -> list[Step]:
    nf4 = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    base: Any = AutoModelForCausalLM.from_pretrained(
        spec.model, dtype=torch.float32, quantization_config=nf4 if spec.nf4 else None
    )
    set_seed(spec.seed)
    model: Any = get_peft_model(
        base,
        LoraConfig(
            r=spec.rank, lora_alpha=spec.alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    learned = [(parameter, parameter.data) for parameter in model.parameters() if parameter.requires_grad]
    arguments = SFTConfig(
        output_dir=str(into),
        max_steps=spec.steps,
        per_device_train_batch_size=spec.batch_size,
        learning_rate=spec.learning_rate,
        lr_scheduler_type=spec.schedule,
        warmup_steps=spec.warmup,
        max_grad_norm=spec.max_grad_norm,
        weight_decay=spec.weight_decay,
        seed=spec.seed,
        completion_only_loss=True,
        activation_checkpointing=spec.recompute,
        use_cpu=True,
        bf16=False,
        dataloader_pin_memory=False,
        train_sampling_strategy="sequential",  # the file is in the order wanted
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    clock = Clock()
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=load_dataset("json", data_files=spec.data, split="train", cache_dir=f"{into}.cache"),
        processing_class=AutoTokenizer.from_pretrained(spec.model),
        callbacks=[clock],
    )
    for parameter, values in learned:  # over NF4 the trainer has rounded them to bf16, which is another run
        parameter.data = values
    del learned
    trainer.train()
    trainer.save_model()
    return clock.steps


if __name__ == "__main__":
    drive(train)
