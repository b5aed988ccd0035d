"""The OFT plugin."""

from adapterhub import hookimpl
from adapterhub.method import Register
from adapterhub_oft.method import OFT, OFTConfig

__all__ = ["OFT", "OFTConfig", "register_methods"]


@hookimpl
def register_methods(register: Register) -> None:
    register(OFT())
