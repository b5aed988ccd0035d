"""The LoRA plugin."""

from adapterhub import hookimpl
from adapterhub.method import Register
from adapterhub_lora.config import LoraConfig
from adapterhub_lora.method import Lora

__all__ = ["Lora", "LoraConfig", "register_methods"]


@hookimpl
def register_methods(register: Register) -> None:
    register(Lora())
