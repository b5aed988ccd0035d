"""`adapterhub ps`: the adapters a running server knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

from adapterhub.cli.output import echo_json, echo_lines, echo_table, short_digest
from adapterhub.cli.server import Server, server_options

if TYPE_CHECKING:
    from adapterhub.client import ServedAdapter

EXAMPLE = """\
adapterhub ps
adapterhub ps --address 127.0.0.1:50200 --json"""
HEADER = ("ADAPTER", "STATE", "METHOD", "SIZE", "RUNNING", "DIGEST")


@click.command("ps")
@server_options
@click.option("-q", "--quiet", is_flag=True, help="Print digests only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(server: Server, quiet: bool, as_json: bool) -> None:
    """List the adapters that a running server knows, with how far each is.

    RUNNING counts the generations that run on an adapter now. One that nobody asked for yet is not listed.
    """
    with server.client() as client:
        resident = client.list()
    if as_json:
        echo_json([summary(adapter) for adapter in resident])
    elif quiet:
        echo_lines(adapter.digest for adapter in resident)
    elif resident:
        echo_table(HEADER, [_row(adapter) for adapter in resident])
    else:
        click.echo(f"no adapters asked for yet at {server.address}", err=True)


def summary(adapter: ServedAdapter) -> dict[str, Any]:
    """One adapter for machines."""
    return adapter._asdict() | {"refs": list(adapter.refs)}


def _row(adapter: ServedAdapter) -> tuple[str, ...]:
    names = "\n".join(adapter.refs) or "(no name)"
    state = f"{adapter.state}, pinned" if adapter.pinned else adapter.state
    size, digest = decimal(adapter.nbytes), short_digest(adapter.digest)
    return names, state, adapter.method, size, str(adapter.running), digest
