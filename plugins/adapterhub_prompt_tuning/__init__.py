"""The prompt-tuning plugin."""

from adapterhub import hookimpl
from adapterhub.method import Register
from adapterhub_prompt_tuning.method import PromptTuning, PromptTuningConfig

__all__ = ["PromptTuning", "PromptTuningConfig", "register_methods"]


@hookimpl
def register_methods(register: Register) -> None:
    register(PromptTuning())
