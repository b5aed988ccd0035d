"""The LN tuning plugin."""

from adapterhub import hookimpl
from adapterhub.method import Register
from adapterhub_ln_tuning.method import LNTuning, LNTuningConfig

__all__ = ["LNTuning", "LNTuningConfig", "register_methods"]


@hookimpl
def register_methods(register: Register) -> None:
    register(LNTuning())
