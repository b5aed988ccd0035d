"""`adapterhub unload`: adapters out of a running server's memory."""

from __future__ import annotations

import click

from adapterhub.cli.output import echo_json, echo_lines
from adapterhub.cli.server import Server, server_options

EXAMPLE = "adapterhub unload team/orders"


@click.command("unload")
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@server_options
@click.option("-q", "--quiet", is_flag=True, help="Print digests only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(refs: tuple[str, ...], server: Server, quiet: bool, as_json: bool) -> None:
    """End the service of adapters on a running server.

    Generations that run on them finish first, then their memory is free. The store keeps them; requests that name
    them are refused until `load`.
    """
    with server.client() as client:
        freed = [(ref, client.unload(ref)) for ref in refs]
    if as_json:
        echo_json([{"ref": ref, "digest": digest} for ref, digest in freed])
    else:
        echo_lines(digest if quiet else f"{ref} {digest}" for ref, digest in freed)
