"""The built-in formats of training data."""

from collections.abc import Callable

from adapterhub import hookimpl
from adapterhub.data_format import DataFormat
from adapterhub_formats.feedback_format import FeedbackFormat
from adapterhub_formats.preference_format import PreferenceFormat
from adapterhub_formats.prompt_completion import PromptCompletion


@hookimpl
def register_formats(register: Callable[[DataFormat], None]) -> None:
    for each in (PreferenceFormat(), FeedbackFormat(), PromptCompletion()):
        register(each)
