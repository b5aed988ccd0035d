"""`adapterhub verify`: whether the store is what was written to it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
from rich.filesize import decimal

from adapterhub.cli.output import echo_json, printable
from adapterhub.errors import IntegrityError
from adapterhub.store import Damage, Store

EXAMPLE = "adapterhub verify"


@click.command("verify")
@click.option("--reindex", is_flag=True, help="Also make the index anew, from the files.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(reindex: bool, as_json: bool) -> None:
    """Read every file of the store and hold it against its digest.

    A damaged one is put aside, into the store's folder `quarantine`, and the tags that need it are named:
    publish these adapters again, or remove the tags. Exits with 7 when anything was damaged or missing.
    """
    store = Store.default()
    verified = store.verify()
    report: dict[str, Any] = asdict(verified)
    if reindex:
        report["indexed"] = store.reindex()
    if as_json:
        echo_json(report)
    else:
        for damage in verified.damaged:
            click.echo(_line(damage))
        click.echo(f"{verified.blobs} files, {decimal(verified.nbytes)}, {len(verified.damaged)} damaged", err=True)
        if reindex:
            click.echo(f"{report['indexed']} adapters indexed", err=True)
    if verified.damaged:
        raise IntegrityError(f"{store.root}: {len(verified.damaged)} damaged or missing")


def _line(damage: Damage) -> str:
    needed = f"needed by {', '.join(damage.refs)}" if damage.refs else "needed by no tag"
    aside = f"; put aside: {damage.quarantined}" if damage.quarantined else ""
    return f"{damage.what}: {printable(damage.problem)}; {needed}{aside}"
