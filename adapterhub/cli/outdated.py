"""`adapterhub outdated`: which adapters of the store the Hub has newer ones of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from adapterhub.cli.output import echo_json, echo_table, printable
from adapterhub.errors import UnavailableError
from adapterhub.store import Store

if TYPE_CHECKING:
    from adapterhub.hub import Outdated

EXAMPLE = "adapterhub outdated"

HEADER = ("ADAPTER", "SOURCE", "COMMIT", "ON THE HUB", "STATE")
SHOWN = 12
"""Hex digits of a commit in the table."""


@click.command("outdated")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print the names alone of those that are behind.")
@click.pass_context
def command(ctx: click.Context, as_json: bool, quiet: bool) -> None:
    """Compare what was pulled or pushed with what the Hugging Face Hub has now.

    A state is `up to date`, `behind`, `changed here` (the tag was moved since), `gone` (no such repo or
    revision, or not yours to see) or `unreachable`. The exit code is 0 when nothing is behind, gone or
    unreachable, 1 when something is behind or gone, and 6 when something is unreachable.
    """
    from adapterhub.hub import outdated

    found = outdated(Store.default())
    behind = [each for each in found if each.state == "behind"]
    if as_json:
        echo_json([{**each._asdict(), "ref": each.ref.label, "digest": each.ref.digest} for each in found])
    elif quiet:
        for each in behind:
            click.echo(each.ref.label)
    elif found:
        echo_table(HEADER, [_row(each) for each in found])
    else:
        click.echo("no adapter of the store was pulled or pushed", err=True)
    for reason in dict.fromkeys(each.reason for each in found if each.reason and not quiet):
        click.echo(f"warning: {printable(reason)}", err=True)
    if any(each.state == "unreachable" for each in found):
        ctx.exit(UnavailableError.exit_code)
    ctx.exit(int(any(each.state in ("behind", "gone") for each in found)))


def _row(each: Outdated) -> tuple[str, ...]:
    return (each.ref.label, each.source, each.commit[:SHOWN], each.head[:SHOWN], each.state)
