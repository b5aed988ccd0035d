"""`adapterhub export`: an adapter out of the store, as the files that PEFT reads."""

from __future__ import annotations

from pathlib import Path

import click

from adapterhub.adapter import CONFIG_FILE
from adapterhub.cli.output import echo_json
from adapterhub.new_folder import new_folder
from adapterhub.store import Store

EXAMPLE = "adapterhub export team/tickets:v2 ./tickets"


@click.command("export")
@click.argument("ref")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace a folder that holds an adapter.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(ref: str, folder: Path, force: bool, as_json: bool) -> None:
    """Write the adapter REF to FOLDER in PEFT's layout, byte by byte as it is in the store.

    The content is checked against its digest first. FOLDER is there whole or not at all.
    """
    store = Store.default()
    pinned = store.pin(ref)
    adapter = store.resolve(pinned)
    with new_folder(folder, replaces=CONFIG_FILE if force else "") as partial:
        adapter.copy_to(partial)
    if as_json:
        echo_json({"ref": pinned.label, "digest": pinned.digest, "folder": str(folder), "files": sorted(adapter.files)})
    else:
        click.echo(str(folder))
