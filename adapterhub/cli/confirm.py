"""Asking before something is destroyed: on a terminal, and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from adapterhub.cli.output import printable

F = TypeVar("F", bound=Callable[..., Any])


def yes_option(command: F) -> F:
    """Adds `--yes`, the parameter `yes`, to a verb that destroys something."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(command)


def confirm(question: str, *, yes: bool) -> None:
    """Return when the answer is yes; end with exit code 1 when it is no.

    Raises UsageError where nobody can be asked and `--yes` was not given.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can be asked here; --yes does it without asking")
    if not click.confirm(printable(question), err=True):
        click.echo("nothing was changed", err=True)
        raise click.exceptions.Exit(1)
