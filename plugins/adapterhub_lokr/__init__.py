"""The LoKr plugin."""

from adapterhub import hookimpl
from adapterhub.method import Register
from adapterhub_lokr.method import LoKr, LoKrConfig

__all__ = ["LoKr", "LoKrConfig", "register_methods"]


@hookimpl
def register_methods(register: Register) -> None:
    register(LoKr())
