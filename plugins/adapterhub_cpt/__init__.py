"""Continued pretraining: plain text, packed without leaking across documents."""

from collections.abc import Callable
from typing import Any

from adapterhub import hookimpl
from adapterhub.objective import Objective
from adapterhub_cpt.cpt import Cpt


@hookimpl
def register_objectives(register: Callable[[Objective[Any]], None]) -> None:
    register(Cpt())
