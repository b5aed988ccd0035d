"""`adapterhub ls`: the adapters in the store."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
from rich.filesize import decimal

from adapterhub.cli.output import echo_json, echo_table, printable, short_digest
from adapterhub.store import Store, StoredAdapter

HEADER = ("ADAPTER", "METHOD", "BASE", "PARAMETERS", "SIZE", "CREATED", "DIGEST")


EXAMPLE = """\
adapterhub ls
adapterhub ls --json"""


@click.command("ls")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List the adapters in the store."""
    store = Store.default()
    found = store.list()
    if as_json:
        echo_json([summary(stored) for stored in found])
        return
    for stored in found:
        if stored.error:
            click.echo(f"warning: {stored.ref.label}: {printable(stored.error)}", err=True)
    if found:
        echo_table(HEADER, [_row(stored) for stored in found])
    else:
        click.echo(f"no adapters in {store.root}", err=True)


def summary(stored: StoredAdapter) -> dict[str, Any]:
    """One adapter for machines."""
    fields = asdict(stored)
    fields.pop("ref")
    return {"ref": stored.ref.label, "digest": stored.ref.digest, **fields}


def _row(stored: StoredAdapter) -> tuple[str, ...]:
    digest = short_digest(stored.ref.digest)
    if stored.error:
        return (stored.ref.label, "unreadable", "", "", "", "", digest)
    base = stored.base if stored.base_digest else f"{stored.base} (unverified)".lstrip()
    size = decimal(stored.nbytes)
    return (stored.ref.label, stored.method, base, f"{stored.num_parameters:,}", size, stored.created, digest)
