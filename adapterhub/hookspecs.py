"""The hooks a plugin may implement. A hook passes `register`; the host does the bookkeeping."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click

    from adapterhub.data_format import DataFormat
    from adapterhub.method import Register
    from adapterhub.metric import Metric
    from adapterhub.objective import Objective
    from adapterhub.prompt_router import PromptRouter

hookspec = pluggy.HookspecMarker("adapterhub")
hookimpl = pluggy.HookimplMarker("adapterhub")


@hookspec
def register_methods(register: Register) -> None:
    """Register PEFT methods, and presets to train them by: call `register(method)` once for each."""


@hookspec
def register_commands(register: Callable[[click.Command], None]) -> None:
    """Register verbs of the command line: call `register(command)` once for each."""


@hookspec
def register_routers(register: Callable[[PromptRouter], None]) -> None:
    """Register routers, which pick an adapter by the prompt: call `register(router)` once for each."""


@hookspec
def register_objectives(register: Callable[[Objective[Any]], None]) -> None:
    """Register objectives, which say what training is to reach: call `register(objective)` once for each."""


@hookspec
def register_formats(register: Callable[[DataFormat], None]) -> None:
    """Register formats of training data: call `register(format)` once for each."""


@hookspec
def register_metrics(register: Callable[[Metric], None]) -> None:
    """Register metrics, which score answers: call `register(metric)` once for each."""
