"""`adapterhub show`: all that is known of one adapter."""

from __future__ import annotations

import click

from adapterhub.cli.ls import summary
from adapterhub.cli.output import echo_json, echo_record
from adapterhub.store import Store, StoredAdapter

EXAMPLE = "adapterhub show team/orders:v1"


@click.command("show")
@click.argument("ref")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(ref: str, as_json: bool) -> None:
    """Show all that is known of one adapter.

    REF is [namespace/]name[:tag][@sha256:...]. The content is checked against its digest.
    """
    store = Store.default()
    pinned = store.pin(ref)
    adapter = store.resolve(pinned)
    record = summary(StoredAdapter.of(pinned, adapter)) | {
        "tensors": len(adapter.tensors),
        "config": dict(adapter.config),
        "provenance": adapter.provenance.model_dump() if adapter.provenance else None,
        "files": {name: {"bytes": path.stat().st_size, "path": str(path)} for name, path in adapter.files.items()},
    }
    if as_json:
        echo_json(record)
    else:
        echo_record(record)
