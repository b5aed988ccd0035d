"""`adapterhub diff`: what differs between two adapters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from adapterhub.cli.output import echo_json, echo_table
from adapterhub.store import Store

if TYPE_CHECKING:
    from adapterhub.compare import Change, SiteNorms

EXAMPLE = "adapterhub diff team/tickets:v1 team/tickets:v2"

CHANGES = ("config", "provenance", "files")
"""The parts of a `Difference` that are changes of keys."""
DIFFERENT = 1
"""Exit code, as `diff` has it."""
SHOWN = 20
"""Sites, without --all."""
WIDTH = 48
"""Of a value."""


@click.command("diff")
@click.argument("a")
@click.argument("b")
@click.option("--all", "every", is_flag=True, help=f"Every site; without it the {SHOWN} that changed most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every site.")
@click.pass_context
def command(ctx: click.Context, a: str, b: str, every: bool, as_json: bool) -> None:
    """Compare two adapters: config, provenance, files, and norms site by site. No base is needed.

    Of a low-rank update the norm is that of the update itself, of anything else that of the tensors; DIFFERENCE
    is the norm of the difference, CHANGE its share of the larger norm. Ends with 0 when every file is the same,
    with 1 when not.
    """
    store = Store.default()
    adapters = [store.resolve(store.pin(ref)) for ref in (a, b)]

    from adapterhub.compare import compare

    found = compare(*adapters)
    if as_json:
        changes = {name: [change._asdict() for change in getattr(found, name)] for name in CHANGES}
        sites = [norms._asdict() | {"change": norms.change} for norms in found.sites]
        echo_json({"equal": found.equal, **changes, "sites": sites})
    else:
        for name in CHANGES:
            _echo((name.upper(), a, b), map(_changed, getattr(found, name)))
        moved = [norms for norms in found.sites if norms.change != 0]
        shown = moved if every else moved[:SHOWN]
        _echo(("SITE", "OF", a, b, "DIFFERENCE", "CHANGE"), map(_normed, shown))
        if len(moved) > len(shown):
            click.echo(f"{len(moved) - len(shown)} more sites; --all shows them", err=True)
        if found.equal:
            click.echo("equal", err=True)
    ctx.exit(0 if found.equal else DIFFERENT)


def _echo(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """A table, if it has a row."""
    if listed := list(rows):
        echo_table(header, listed)
        click.echo()


def _changed(change: Change) -> tuple[str, str, str]:
    before = "" if change.kind == "added" else _short(change.before)
    return change.key, before, "" if change.kind == "removed" else _short(change.after)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def _normed(norms: SiteNorms) -> tuple[str, ...]:
    difference = "" if norms.difference is None else f"{norms.difference:.4g}"
    change = "other tensors" if norms.change is None else f"{norms.change:.1%}"
    return norms.site or "(whole adapter)", norms.of, f"{norms.a:.4g}", f"{norms.b:.4g}", difference, change
