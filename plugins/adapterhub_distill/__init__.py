"""Distillation: give responses as a teacher would, token by token; given ones, or the student's own."""

from collections.abc import Callable
from typing import Any

from adapterhub import hookimpl
from adapterhub.objective import Objective
from adapterhub_distill.distill import Distill
from adapterhub_distill.gkd import Gkd


@hookimpl
def register_objectives(register: Callable[[Objective[Any]], None]) -> None:
    register(Distill())
    register(Gkd())
