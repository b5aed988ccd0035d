"""`adapterhub tag`: another name for an adapter."""

from __future__ import annotations

import click

from adapterhub.cli.output import echo_json
from adapterhub.store import Store

EXAMPLE = "adapterhub tag team/digits:candidate team/digits:production"


@click.command("tag")
@click.argument("source")
@click.argument("ref")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print the reference alone.")
def command(source: str, ref: str, as_json: bool, quiet: bool) -> None:
    """Point the tag REF at what SOURCE names; nothing is copied.

    SOURCE is [namespace/]name[:tag][@sha256:...], REF is [namespace/]name[:tag]. A tag that holds something
    else moves, and `adapterhub rollback REF` takes that back.
    """
    tagged = Store.default().tag(source, ref)
    if as_json:
        echo_json({"ref": tagged.label, "digest": tagged.digest})
    else:
        click.echo(tagged.label if quiet else str(tagged))
