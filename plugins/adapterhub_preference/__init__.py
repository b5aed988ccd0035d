"""Preference tuning: of two answers the better one, by TRL's trainers."""

from collections.abc import Callable
from typing import Any

from adapterhub import hookimpl
from adapterhub.objective import Objective
from adapterhub_preference.dpo import Dpo
from adapterhub_preference.kto import Kto
from adapterhub_preference.orpo import Orpo


@hookimpl
def register_objectives(register: Callable[[Objective[Any]], None]) -> None:
    register(Dpo())
    register(Kto())
    register(Orpo())
