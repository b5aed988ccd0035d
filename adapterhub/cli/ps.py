"""`adapterhub ps`: the adapters a running server holds in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

from adapterhub.cli.output import echo_json, echo_lines, echo_table, short_digest
from adapterhub.cli.server import address_option

if TYPE_CHECKING:
    from adapterhub.client import ResidentAdapter

EXAMPLE = """\
adapterhub ps
adapterhub ps --address 127.0.0.1:50200 --json"""
HEADER = ("ADAPTER", "METHOD", "SIZE", "RUNNING", "DIGEST")


@click.command("ps")
@address_option
@click.option("-q", "--quiet", is_flag=True, help="Print digests only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(address: str, quiet: bool, as_json: bool) -> None:
    """List the adapters that a running server holds in memory.

    RUNNING counts the generations that run on an adapter now. One that nobody asked for yet is not listed.
    """
    from adapterhub.client import Client

    with Client(address) as client:
        resident = client.list()
    if as_json:
        echo_json([summary(adapter) for adapter in resident])
    elif quiet:
        echo_lines(adapter.digest for adapter in resident)
    elif resident:
        echo_table(HEADER, [_row(adapter) for adapter in resident])
    else:
        click.echo(f"no adapters in memory at {address}", err=True)


def summary(adapter: ResidentAdapter) -> dict[str, Any]:
    """One adapter for machines."""
    return adapter._asdict() | {"refs": list(adapter.refs)}


def _row(adapter: ResidentAdapter) -> tuple[str, ...]:
    names = "\n".join(adapter.refs) or "(no name)"
    return names, adapter.method, decimal(adapter.nbytes), str(adapter.running), short_digest(adapter.digest)
