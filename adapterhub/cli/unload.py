"""`adapterhub unload`: adapters out of a running server's memory."""

from __future__ import annotations

import click

from adapterhub.cli.output import echo_json, echo_lines
from adapterhub.cli.server import address_option

EXAMPLE = "adapterhub unload team/orders"


@click.command("unload")
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@address_option
@click.option("-q", "--quiet", is_flag=True, help="Print digests only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(refs: tuple[str, ...], address: str, quiet: bool, as_json: bool) -> None:
    """Free adapters from a running server's memory.

    Generations that run on them finish first; the store keeps them, and a later request loads them again.
    """
    from adapterhub.client import Client

    with Client(address) as client:
        freed = [(ref, client.unload(ref)) for ref in refs]
    if as_json:
        echo_json([{"ref": ref, "digest": digest} for ref, digest in freed])
    else:
        echo_lines(digest if quiet else f"{ref} {digest}" for ref, digest in freed)
