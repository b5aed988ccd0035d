"""`adapterhub load`: adapters into a running server's memory, before anybody asks for them."""

from __future__ import annotations

import click

from adapterhub.cli.output import echo_json, echo_lines
from adapterhub.cli.ps import summary
from adapterhub.cli.server import address_option

EXAMPLE = "adapterhub load team/orders team/tickets:v2"


@click.command("load")
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@address_option
@click.option("-q", "--quiet", is_flag=True, help="Print digests only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(refs: tuple[str, ...], address: str, quiet: bool, as_json: bool) -> None:
    """Load adapters of a running server's store into its memory.

    A generation does so by itself on an adapter's first use; this saves it the wait, and tells whether the
    adapter can be served. Prints each with its digest once it is there.
    """
    from adapterhub.client import Client

    with Client(address) as client:
        resident = [(ref, client.load(ref)) for ref in refs]
    if as_json:
        echo_json([summary(adapter) for _, adapter in resident])
    else:
        echo_lines(adapter.digest if quiet else f"{ref} {adapter.digest}" for ref, adapter in resident)
