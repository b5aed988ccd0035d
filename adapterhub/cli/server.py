"""Which running server a verb asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from adapterhub.settings import DEFAULT_ADDRESS, effective

F = TypeVar("F", bound=Callable[..., Any])


def address_option(command: F) -> F:
    """Adds `--address`, whose default is the setting `address`."""
    return click.option(
        "--address",
        default=lambda: effective().settings.address,
        show_default=f"{DEFAULT_ADDRESS}, or the setting `address`",
        metavar="HOST:PORT",
        help="The server.",
    )(command)
