"""`adapterhub rollback`: a tag back to what it held before."""

from __future__ import annotations

import click

from adapterhub.cli.output import echo_json, echo_table
from adapterhub.store import RefMove, Store

EXAMPLE = """\
adapterhub rollback team/digits
adapterhub rollback team/digits --list
adapterhub rollback team/digits --to 3f2a91"""
HEADER = ("AT", "ACTION", "DIGEST", "SOURCE", "COMMIT")


@click.command("rollback")
@click.argument("ref")
@click.option("--to", metavar="DIGEST", help="A digest the tag held once, or the beginning of one.")
@click.option("--list", "as_list", is_flag=True, help="Only list what the tag held, oldest first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print the reference, or of a list the digests, alone.")
def command(ref: str, to: str | None, as_list: bool, as_json: bool, quiet: bool) -> None:
    """Point the tag REF at what it held before its last move.

    A second rollback takes back the first; --to goes further. A tag that was removed comes back. Content
    that `adapterhub gc` removed cannot be gone back to.
    """
    store = Store.default()
    if as_list:
        if to is not None:
            raise click.UsageError("--list or --to, not both")
        _list(store.history(ref), as_json, quiet)
        return
    moved = store.rollback(ref, to)
    if as_json:
        echo_json({"ref": moved.label, "digest": moved.digest})
    else:
        click.echo(moved.label if quiet else str(moved))


def _list(moves: tuple[RefMove, ...], as_json: bool, quiet: bool) -> None:
    if as_json:
        echo_json([move.model_dump() for move in moves])
    elif quiet:
        for digest in dict.fromkeys(move.digest for move in moves if move.digest):
            click.echo(digest)
    elif moves:
        echo_table(HEADER, [_row(move) for move in moves])
    else:
        click.echo("there never was such a tag", err=True)


def _row(move: RefMove) -> tuple[str, ...]:
    digest = move.digest.removeprefix("sha256:")[:12] or "(nothing)"
    return (move.at, move.action, digest, move.source, move.commit[:12])
