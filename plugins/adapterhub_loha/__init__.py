"""The LoHa plugin."""

from adapterhub import hookimpl
from adapterhub.method import Register
from adapterhub_loha.method import LoHa, LoHaConfig

__all__ = ["LoHa", "LoHaConfig", "register_methods"]


@hookimpl
def register_methods(register: Register) -> None:
    register(LoHa())
