"""A chat on a terminal, and as plain lines for other programs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

import click
from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from adapterhub.chat.reading import read_all
from adapterhub.cli.output import printable, printable_lines
from adapterhub.errors import AdapterHubError

Answers = Mapping[str, AsyncGenerator[str]]


class PlainScreen:
    """Answers to stdout, as they are; one after the other where several are compared. The rest to stderr."""

    def note(self, text: str) -> None:
        click.echo(printable_lines(text), err=True)

    def error(self, text: str) -> None:
        click.echo(f"error: {printable(text)}", err=True)

    async def show(self, answers: Answers, said: dict[str, str]) -> dict[str, AdapterHubError]:
        if len(answers) == 1:
            failed = await read_all(answers, said, lambda _, text: click.echo(text, nl=False))
            click.echo()
            return failed
        failed = await read_all(answers, said, lambda name, text: None)
        for name in answers:
            click.echo(f"{name}:\n{said.get(name, '')}")
        return failed


class TerminalScreen:
    """Answers as they come, under their adapters' names; side by side where two are compared."""

    def note(self, text: str) -> None:
        click.secho(printable_lines(text), dim=True)

    def error(self, text: str) -> None:
        click.secho(f"error: {printable(text)}", fg="red", err=True)

    async def show(self, answers: Answers, said: dict[str, str]) -> dict[str, AdapterHubError]:
        if len(answers) == 1:
            click.secho(printable(next(iter(answers))), bold=True)
            failed = await read_all(answers, said, lambda _, text: click.echo(printable_lines(text), nl=False))
            click.echo()
            return failed
        console = Console()
        with Live(console=console, transient=True, refresh_per_second=12) as live:
            try:
                return await read_all(answers, said, lambda name, text: live.update(_end(answers, said, console)))
            finally:  # the whole of it stays, however long
                live.update("")
                console.print(_columns(answers, said))


def _columns(answers: Answers, said: Mapping[str, str]) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0))
    for name in answers:
        table.add_column(Text(printable(name), style="bold"), ratio=1, overflow="fold")
    table.add_row(*(Text(printable_lines(said.get(name, ""))) for name in answers))
    return table


def _end(answers: Answers, said: Mapping[str, str], console: Console) -> Table:
    """The last lines of each, as many as the terminal has."""
    width, height = max(1, console.width // len(answers) - 2), max(1, console.height - 3)
    return _columns(answers, {name: "\n".join(_wrapped(text, width)[-height:]) for name, text in said.items()})


def _wrapped(text: str, width: int) -> list[str]:
    """Lines no wider than that, cut anywhere."""
    lines = [""]
    for character in printable_lines(text[-width * 200 :]).expandtabs(4):
        if character == "\n":
            lines.append("")
        elif cell_len(lines[-1]) + cell_len(character) > width:
            lines.append(character)
        else:
            lines[-1] += character
    return lines
