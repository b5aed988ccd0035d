"""`adapterhub ls`: the adapters in the store."""

from __future__ import annotations

from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any

import click
from rich.filesize import decimal

from adapterhub.cli.output import echo_json, echo_table, printable, short_digest
from adapterhub.store import Store, StoredAdapter

EXAMPLE = """\
adapterhub ls
adapterhub ls 'team/*' --method lora --base smollm2-135m
adapterhub ls --tag old -q"""
HEADER = ("ADAPTER", "METHOD", "BASE", "PARAMETERS", "SIZE", "CREATED", "DIGEST")


EXAMPLE = """\
adapterhub ls
adapterhub ls --json"""


@click.command("ls")
@click.argument("name", default="*")
@click.option("--base", metavar="PATTERN", help="Only those made on this base: its name, or its digest.")
@click.option("--method", metavar="PATTERN", help="Only those of this method.")
@click.option("--tag", metavar="PATTERN", help="Only this tag.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print references alone.")
def command(name: str, base: str | None, method: str | None, tag: str | None, as_json: bool, quiet: bool) -> None:
    """List the adapters in the store, or those whose name is NAME.

    NAME and the patterns may have *, ? and [...]; quote them for the shell.
    """
    store = Store.default()
    found = [
        stored
        for stored in store.list()
        if _fits(name, stored.ref.name)
        and _fits(tag, stored.ref.tag)
        and _fits(method, stored.method)
        and _fits(base, stored.base, stored.base_digest)
    ]
    if as_json:
        echo_json([summary(stored) for stored in found])
        return
    if quiet:
        for stored in found:
            click.echo(stored.ref.label)
        return
    for stored in found:
        if stored.error:
            click.echo(f"warning: {stored.ref.label}: {printable(stored.error)}", err=True)
    if found:
        echo_table(HEADER, [_row(stored) for stored in found])
    else:
        such = "such " if name != "*" or base or method or tag else ""
        click.echo(f"no {such}adapters in {store.root}", err=True)


def _fits(pattern: str | None, *values: str) -> bool:
    return pattern is None or any(fnmatchcase(value, pattern) for value in values)


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
