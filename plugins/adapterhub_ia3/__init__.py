"""The (IA)3 plugin."""

from adapterhub import hookimpl
from adapterhub.method import Register
from adapterhub_ia3.method import IA3, IA3Config

__all__ = ["IA3", "IA3Config", "register_methods"]


@hookimpl
def register_methods(register: Register) -> None:
    register(IA3())
