"""The prefix-tuning plugin."""

from adapterhub import hookimpl
from adapterhub.method import Register
from adapterhub_prefix_tuning.method import PrefixTuning, PrefixTuningConfig

__all__ = ["PrefixTuning", "PrefixTuningConfig", "register_methods"]


@hookimpl
def register_methods(register: Register) -> None:
    register(PrefixTuning())
