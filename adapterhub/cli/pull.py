"""`adapterhub pull`: an adapter of the Hugging Face Hub, published to the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from pydantic import TypeAdapter, ValidationError

from adapterhub.cli.output import echo_json, printable
from adapterhub.config import Size
from adapterhub.errors import InvalidInputError
from adapterhub.store import AdapterRef, Store
from adapterhub.store.ref import HUB_PREFIX

if TYPE_CHECKING:
    from adapterhub.hub import Pulled

EXAMPLE = """\
adapterhub pull hf:org/Tickets-LoRA --base smollm2-135m
adapterhub pull hf:org/Tickets-LoRA:v1.0 --name team/tickets:v1"""


@click.command("pull")
@click.argument("source")
@click.option("--name", metavar="REF", default="", help="Publish as [namespace/]name[:tag], not under the repo's name.")
@click.option("--base", metavar="BASE", help="Refuse the adapter unless it fits this base, whose weights are not read.")
@click.option("--subfolder", metavar="PATH", default="", help="Where in the repo the adapter lies.")
@click.option("--max-size", metavar="SIZE", default="8GiB", show_default=True, help="Refuse longer tensors.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print the reference alone, and no warnings.")
def command(
    source: str, name: str, base: str | None, subfolder: str, max_size: str, as_json: bool, quiet: bool
) -> None:
    """Fetch an adapter from the Hugging Face Hub into the store.

    SOURCE is hf:org/repo[:revision][@sha256:...]; a revision is a branch, a tag or a commit, by default main.
    Only the files of an adapter are fetched, of one commit, which is recorded. With a digest, other
    content is refused. Without the Hub, a commit that was fetched before is taken out of the cache.
    """
    ref = AdapterRef.parse(source if source.startswith(HUB_PREFIX) else HUB_PREFIX + source)
    max_bytes = _bytes(max_size)

    from adapterhub.hub import pull

    pulled = pull(ref, Store.default(), name=name, base=base, subfolder=subfolder, max_bytes=max_bytes)
    _report(pulled, as_json, quiet)


def _bytes(size: str) -> int:
    try:
        return int(TypeAdapter(Size).validate_python(size))
    except ValidationError:
        raise InvalidInputError(f"max-size: {size!r} is not a size, such as 512MB or 2GiB", field="max_size") from None


def _report(pulled: Pulled, as_json: bool, quiet: bool) -> None:
    if as_json:
        echo_json(
            {
                "ref": pulled.ref.label,
                "digest": pulled.ref.digest,
                "source": pulled.source,
                "commit": pulled.commit,
                "method": pulled.method,
                "fits": pulled.base,
                "cached": pulled.cached,
                "warnings": pulled.warnings,
            }
        )
        return
    if not quiet:
        for warning in pulled.warnings:
            click.echo(f"warning: {printable(warning)}", err=True)
        if pulled.cached:
            click.echo(f"warning: {printable(pulled.cached)}; out of the cache", err=True)
        fits = f"fits base {printable(pulled.base)}" if pulled.base else "not checked against a base (--base)"
        click.echo(f"{pulled.source} at commit {pulled.commit}: {pulled.method}, {fits}", err=True)
    click.echo(str(pulled.ref))
