"""`adapterhub import`: an adapter that somebody else made, published to the store."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from adapterhub.cli.output import echo_json, printable
from adapterhub.errors import UnavailableError
from adapterhub.imports import Limits, choose
from adapterhub.store import AdapterRef, Store

if TYPE_CHECKING:
    from adapterhub.imports import Imported

EXAMPLE = """adapterhub import ./their-adapter team/digits:v1 --base smollm2-135m
adapterhub import ./outputs team/sums --adapter checkpoint-200"""


EXAMPLE = """\
adapterhub import ./their-adapter team/theirs:v1 --base smollm2-135m
adapterhub import ./library-adapter team/bottleneck"""


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("ref")
@click.option("--base", metavar="BASE", help="Refuse the adapter unless it fits this base, whose weights are not read.")
@click.option("--subfolder", metavar="NAME", help="Where in the folder the adapter lies.")
@click.option("--adapter", metavar="NAME", help="Which of several adapters; `default` is the folder's own.")
@click.option(
    "--max-bytes",
    metavar="SIZE",
    help="Refuse more bytes of tensors than this, such as 512MB or 8GiB.  [default: 4GiB]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    folder: Path,
    ref: str,
    base: str | None,
    subfolder: str | None,
    adapter: str | None,
    max_bytes: str | None,
    as_json: bool,
) -> None:
    """Publish an adapter that somebody else made to the store.

    It is taken from FOLDER and published as REF, [namespace/]name[:tag]. PEFT's layout, or that of another
    library which an installed method converts. safetensors only.
    """
    if subfolder is not None and adapter is not None:
        raise click.UsageError("--subfolder or --adapter, not both")
    AdapterRef.parse(ref)  # before any work
    limits = Limits.load({} if max_bytes is None else {"max_bytes": max_bytes}, where="import")
    source = choose(folder, subfolder=subfolder, adapter=adapter)

    from adapterhub.imports import import_adapter

    with TemporaryDirectory(prefix="adapterhub-import-") as name:
        imported = import_adapter(source, Path(name), base=base, limits=limits)
        store = Store.default()
        try:
            published = store.publish(Path(name), ref)
        except OSError as error:
            raise UnavailableError(f"{store.root}: cannot be written: {error}") from None
    _report(published, imported, as_json)


def _report(published: AdapterRef, imported: Imported, as_json: bool) -> None:
    provenance = imported.adapter.provenance
    if as_json:
        echo_json(
            {
                "ref": published.label,
                "digest": published.digest,
                "method": imported.method,
                "fits": imported.base,
                "verified": imported.verified,
                "converted_from": provenance.converted_from if provenance else {},
                "warnings": imported.warnings,
            }
        )
        return
    for warning in imported.warnings:
        click.echo(f"warning: {printable(warning)}", err=True)
    if imported.base or imported.adapter.base is None:
        click.echo(f"{imported.method}: {_checked(imported)}", err=True)
    click.echo(str(published))


def _checked(imported: Imported) -> str:
    """What is known of the base it was made on."""
    record = imported.adapter.base
    if not imported.base:
        return "unverified; with --base its tensors are checked against a base"
    if imported.verified:
        return f"made on base {printable(imported.base)}, and fits it"
    why = "which base it was made on is not recorded" if record is None else "the base's digest is not known yet"
    return f"fits base {printable(imported.base)}; unverified: {why}"
