"""Reinforcement by a reward that a function gives, by TRL's trainer."""

from collections.abc import Callable
from typing import Any

from adapterhub import hookimpl
from adapterhub.objective import Objective
from adapterhub_grpo.grpo import Grpo


@hookimpl
def register_objectives(register: Callable[[Objective[Any]], None]) -> None:
    register(Grpo())
