"""The p-tuning plugin."""

from adapterhub import hookimpl
from adapterhub.method import Register
from adapterhub_p_tuning.method import PTuning, PTuningConfig

__all__ = ["PTuning", "PTuningConfig", "register_methods"]


@hookimpl
def register_methods(register: Register) -> None:
    register(PTuning())
