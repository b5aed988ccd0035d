"""Before a verb destroys something it asks."""

from __future__ import annotations

import sys

import click

YES = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def ask(question: str, *, yes: bool) -> None:
    """Go on when the user agrees, on a terminal, or has said `yes` before.

    Raises a usage error where there is no terminal to ask on, and ends the verb when the user does not agree.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} There is no terminal to ask on: say --yes.")
    click.confirm(question, abort=True, err=True)
