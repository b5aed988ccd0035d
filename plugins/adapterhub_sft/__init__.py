"""Supervised fine-tuning: the loss is on the responses only."""

from collections.abc import Callable
from typing import Any

from adapterhub import hookimpl
from adapterhub.objective import Objective
from adapterhub_sft.sft import Sft


@hookimpl
def register_objectives(register: Callable[[Objective[Any]], None]) -> None:
    register(Sft())
