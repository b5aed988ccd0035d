"""`adapterhub load`: adapters into a running server's memory, before anybody asks for them."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from adapterhub.cli.output import echo_json, echo_lines
from adapterhub.cli.ps import summary
from adapterhub.cli.server import Server, server_options
from adapterhub.errors import UnavailableError

if TYPE_CHECKING:
    from adapterhub.client import Client, ServedAdapter

EXAMPLE = """\
adapterhub load team/orders team/tickets:v2
adapterhub load team/orders --pin"""


@click.command("load")
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@server_options
@click.option("--pin", is_flag=True, help="Keep them whatever else is asked for; --unpin undoes it.")
@click.option("--unpin", is_flag=True, help="Let them go when their room is needed.")
@click.option("-q", "--quiet", is_flag=True, help="Print digests only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(refs: tuple[str, ...], server: Server, pin: bool, unpin: bool, quiet: bool, as_json: bool) -> None:
    """Load adapters into a running server's memory.

    A generation does so by itself on an adapter's first use; this saves it the wait, tells whether the adapter
    can be served, and lifts what `unload` has ended. Prints each with its digest once it is there.
    """
    if pin and unpin:
        raise click.UsageError("--pin or --unpin, not both")
    with server.client() as client:
        loaded = [(ref, _load(client, ref, pin=pin, unpin=unpin)) for ref in refs]
    if as_json:
        echo_json([summary(adapter) for _, adapter in loaded])
    else:
        echo_lines(adapter.digest if quiet else f"{ref} {adapter.digest}" for ref, adapter in loaded)


def _load(client: Client, ref: str, *, pin: bool, unpin: bool) -> ServedAdapter:
    """The adapter, resident. Raises UnavailableError saying why it did not become so."""
    if unpin:
        return client.unpin(ref)
    begin = client.pin if pin else client.load
    begin(ref)
    with closing(client.watch(ref)) as states:
        for adapter in states:
            if adapter.state == "resident":
                return adapter
            if adapter.state == "failed":
                raise UnavailableError(f"{ref}: {adapter.reason}")
    raise UnavailableError(f"{ref}: unloaded meanwhile")
