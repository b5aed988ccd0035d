"""What verbs print. Results go to stdout, talk to stderr; no text of an adapter reaches the terminal raw."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click


def printable(text: str) -> str:
    """`text` with everything that could steer a terminal spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def echo_json(value: Any) -> None:
    """`value` as JSON."""
    click.echo(json.dumps(value, indent=2))


def echo_lines(lines: Iterable[str]) -> None:
    """One thing a line, for other programs."""
    for line in lines:
        click.echo(printable(line))


def short_digest(digest: str) -> str:
    """Enough of a digest to tell it from others by eye."""
    return digest.removeprefix("sha256:")[:12]


def echo_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A rich table on a terminal, else aligned columns."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _echo_rich(header, cells)
        return
    lines = [list(header), *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _echo_rich(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def echo_record(record: Mapping[str, Any], indent: str = "") -> None:
    """Names and values, one a line, nested ones indented; what is empty is left out."""
    empty: tuple[Any, ...] = (None, "", [], {})
    shown = {printable(str(name)): value for name, value in record.items() if value not in empty}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        if isinstance(value, Mapping):
            click.echo(f"{indent}{name}")
            echo_record(value, indent + "  ")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            click.echo(f"{indent}{name:{width}}  {printable(text)}")
