"""`adapterhub gc`: room on the disk."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.filesize import decimal

from adapterhub.cli.confirm import confirm, yes_option
from adapterhub.cli.duration import duration
from adapterhub.cli.output import echo_json
from adapterhub.store import Store, Swept

EXAMPLE = """\
adapterhub gc --dry-run
adapterhub gc --keep-history 7d --yes"""


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
@click.option(
    "--grace", callback=duration, default="1h", show_default=True, metavar="TIME", help="Keep files younger than this."
)
@click.option(
    "--keep-history",
    callback=duration,
    default="30d",
    show_default=True,
    metavar="TIME",
    help="Keep what a tag held until this long ago, for rollback.",
)
@yes_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(dry_run: bool, grace: float, keep_history: float, yes: bool, as_json: bool) -> None:
    """Remove content that no tag holds any more, and what crashes left unfinished.

    TIME is such as 90s, 5m, 1h, 30d, or 0. Safe beside anybody who publishes or serves from the store.
    """
    store = Store.default()
    found = store.gc(grace=grace, keep_history=keep_history, dry_run=True)
    if not dry_run and found.blobs + found.temporary:
        confirm(f"Remove {_counts(found)}?", yes=yes)
        found = store.gc(grace=grace, keep_history=keep_history)
    if as_json:
        echo_json(asdict(found) | {"dry_run": dry_run})
    else:
        click.echo(f"{'would remove' if dry_run else 'removed'} {_counts(found)}; {found.kept} files stay")


def _counts(swept: Swept) -> str:
    unfinished = f" and {swept.temporary} unfinished ones" if swept.temporary else ""
    return f"{swept.blobs} files{unfinished}, {decimal(swept.nbytes)}"
