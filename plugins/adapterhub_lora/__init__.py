"""The LoRA plugin."""

from adapterhub import hookimpl
from adapterhub.method import Register
from adapterhub_lora.method import Lora, LoraConfig

__all__ = ["Lora", "LoraConfig", "register_methods"]


@hookimpl
def register_methods(register: Register) -> None:
    register(Lora())
