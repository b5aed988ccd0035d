"""The `keys` verb: who may call a server. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from adapterhub.cli.output import echo_json, echo_table
from adapterhub_server.keys import SCOPES, Key, Keys

EXAMPLE = """adapterhub keys create web --tenant shop --adapter 'shop/*' --file keys.json
adapterhub keys list --file keys.json
adapterhub keys revoke web --file keys.json"""

FILE = click.option(
    "--file", "path", required=True, type=click.Path(path_type=Path), help="The file that `serve --keys` is given."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("keys")
def command() -> None:
    """Make, list and revoke API keys. The file holds their hashes, and a running server follows it."""


@command.command("create")
@click.argument("name")
@FILE
@click.option("--tenant", required=True, help="Tenants share no computed rows, and take turns.")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(SCOPES), default=("infer",), show_default=True,
    help="`infer`: generate and look; `manage`: load, unload, route. May be repeated.",
)  # fmt: skip
@click.option(
    "--adapter", "adapters", multiple=True, metavar="PATTERN",
    help="Adapters it may use, such as shop/* or hf:shop/*; may be repeated. Without it, the bare base alone.",
)  # fmt: skip
@JSON
def create(
    name: str, path: Path, tenant: str, scopes: tuple[str, ...], adapters: tuple[str, ...], as_json: bool
) -> None:
    """Make a key, and print it: it is shown this once."""
    made = Keys(path).create(name, tenant=tenant, scopes=scopes, adapters=adapters)
    if as_json:
        echo_json({"name": name, "key": made})
        return
    click.echo(f"key {name} of tenant {tenant}; it is not shown again", err=True)
    click.echo(made)


@command.command("list")
@FILE
@JSON
def list_(path: Path, as_json: bool) -> None:
    """List the keys, without their secrets."""
    keys = Keys(path).list()
    if as_json:
        echo_json([_summary(key) for key in keys])
    elif keys:
        echo_table(
            ("NAME", "TENANT", "SCOPES", "ADAPTERS", "CREATED"),
            [(key.name, key.tenant, ",".join(key.scopes), ",".join(key.adapters), key.created) for key in keys],
        )
    else:
        click.echo(f"no keys in {path}", err=True)


@command.command("revoke")
@click.argument("name")
@FILE
def revoke(name: str, path: Path) -> None:
    """Revoke a key; running servers refuse it from the next call on."""
    Keys(path).revoke(name)
    click.echo(f"revoked {name}", err=True)


def _summary(key: Key) -> dict[str, Any]:
    return key.model_dump(exclude={"sha256"})
