"""The VeRA plugin."""

from adapterhub import hookimpl
from adapterhub.method import Register
from adapterhub_vera.config import VeraConfig
from adapterhub_vera.method import Vera

__all__ = ["Vera", "VeraConfig", "register_methods"]


@hookimpl
def register_methods(register: Register) -> None:
    register(Vera())
