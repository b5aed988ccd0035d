"""QLoRA: LoRA trained over an NF4 base, saved and served as plain LoRA.

Source: Dettmers et al. 2023, "QLoRA: Efficient Finetuning of Quantized LLMs" (arXiv:2305.14314).

The base brings NF4 and the double quantization of its scales. Of what is usually done to prepare
such a base, freezing it and a gradient of what goes into the first layer are there; its norms are
not cast to fp32: they train as they are served.
"""

from adapterhub import TrainDefaults, TrainPreset, hookimpl
from adapterhub.method import Register

__all__ = ["QLORA", "register_methods"]

QLORA = TrainPreset(
    name="qlora",
    method="lora",
    quantization="nf4",
    gradient_checkpointing=True,
    cuda_optimizer="paged_adamw_8bit",
    training_defaults=TrainDefaults(
        learning_rate=2e-4,
        schedule="constant",
        warmup=0.03,
        max_grad_norm=0.3,
        source="Dettmers et al. 2023, for 7B and 13B",
    ),
)


@hookimpl
def register_methods(register: Register) -> None:
    register(QLORA)
