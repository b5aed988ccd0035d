"""A length of time on the command line."""

from __future__ import annotations

import re

import click

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """The callback of an option: `90s`, `5m`, `1h`, `30d` or `0` in seconds."""
    if value == "0":
        return 0.0
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not a length of time (accepted: such as 90s, 5m, 1h, 30d, or 0)")
    return float(found[1]) * SECONDS[found[2]]
