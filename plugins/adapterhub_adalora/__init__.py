"""The AdaLoRA plugin."""

from adapterhub import hookimpl
from adapterhub.method import Register
from adapterhub_adalora.config import AdaLoraConfig
from adapterhub_adalora.method import AdaLora

__all__ = ["AdaLora", "AdaLoraConfig", "register_methods"]


@hookimpl
def register_methods(register: Register) -> None:
    register(AdaLora())
