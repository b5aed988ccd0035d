"""What verbs print. Results go to stdout, talk to stderr; no text of an adapter reaches the terminal raw."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich.cells import cell_len

GAP = 2
"""Blanks between the columns of a table."""


def printable(text: str) -> str:
    """`text` with everything that could steer a terminal spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """As `printable`, and lines and tabs stay."""
    return "".join(c if c in "\n\t" else printable(c) for c in text)


def echo_json(value: Any) -> None:
    """`value` as JSON."""
    click.echo(json.dumps(value, indent=2))


def echo_lines(lines: Iterable[str]) -> None:
    """One thing a line, for other programs."""
    for line in lines:
        click.echo(printable(line))


def echo_warning(text: str) -> None:
    """A line on stderr."""
    click.echo(f"warning: {printable(text)}", err=True)


def short_digest(digest: str) -> str:
    """Enough of a digest to tell it from others by eye."""
    return digest.removeprefix("sha256:")[:12]


def echo_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A rich table on a terminal, else aligned columns.

    On a terminal too narrow for the longest words of all columns, each row is a record of its own instead.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _echo_rich(header, cells)
        return
    lines = [list(header), *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _echo_rich(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if widths := _fitting(header, rows, console.width):
        table = Table(box=None, pad_edge=False)
        for column, width in zip(header, widths, strict=True):
            table.add_column(column, width=width)
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
        return
    for name, *values in rows:
        click.echo(name)
        echo_record(dict(zip(header[1:], values, strict=True)), indent="  ")


def _fitting(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Widths of columns that fit in `width` with words unbroken and first cells in one line; none when nothing fits."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    least = [max((cell_len(word) for cell in column for word in cell.split()), default=1) for column in columns]
    least[0] = widths[0]
    room = width - GAP * (len(header) - 1)
    if sum(least) > room:
        return []
    while sum(widths) > room:  # the widest of those that can give way
        widest = max((size, index) for index, size in enumerate(widths) if size > least[index])[1]
        widths[widest] -= 1
    return widths


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
