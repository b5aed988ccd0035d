"""`adapterhub push`: an adapter of the store, committed to the Hugging Face Hub with its card."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.filesize import decimal

from adapterhub.cli.output import echo_json, echo_table, printable
from adapterhub.hub.target import Target
from adapterhub.store import Store
from adapterhub.store.ref import HUB_PREFIX

if TYPE_CHECKING:
    from adapterhub.hub import Pushed

EXAMPLE = """\
adapterhub push team/tickets:v1 org/Tickets-LoRA --private --tag v1.0 --license apache-2.0 --dry-run
adapterhub push team/tickets:v1 org/Tickets-LoRA --private --tag v1.0 --license apache-2.0"""

HEADER = ("FILE", "SIZE", "CHANGE")


@click.command("push")
@click.argument("ref")
@click.argument("repo")
@click.option("--private", is_flag=True, help="Make the repo a private one; refuse one that is public already.")
@click.option("--tag", metavar="TAG", default="", help="Put this tag on the commit.")
@click.option(
    "--revision", metavar="BRANCH", default="main", show_default=True, help="Commit to this branch, made where missing."
)
@click.option(
    "--base-model", metavar="ID", default="", help="The base's id on the Hub, where the adapter does not record it."
)
@click.option("--license", metavar="NAME", default="", help="A license by the Hub's names, such as apache-2.0.")
@click.option("--dataset", "datasets", metavar="ID", multiple=True, help="A data set of the Hub it was trained on.")
@click.option("--dry-run", is_flag=True, help="Show what would be pushed and the whole card; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print the reference on the Hub alone.")
def command(ref: str, repo: str, dry_run: bool, as_json: bool, quiet: bool, **target: str) -> None:
    """Commit an adapter of the store to the Hugging Face Hub, with its model card.

    REF is [namespace/]name[:tag][@sha256:...], REPO is org/repo, which is made when it is missing. It is
    one commit; when somebody else commits meanwhile, it is refused. What is there already makes no
    commit. The card is written from the adapter's record; of a card that is there, what others
    wrote is kept. You log in with `hf auth login`.
    """
    checked = Target(repo.removeprefix(HUB_PREFIX), **target)  # type: ignore[arg-type]

    from adapterhub.hub import push

    pushed = push(ref, Store.default(), checked, dry_run=dry_run)
    if as_json:
        files = [file._asdict() for file in pushed.files]
        echo_json({**pushed._asdict(), "files": files, "changes": pushed.changes, "dry_run": dry_run})
    elif quiet:
        click.echo(f"{HUB_PREFIX}{pushed.repo}:{pushed.revision}@{pushed.digest}")
    elif dry_run:
        _show(pushed)
    else:
        what = "pushed" if pushed.changes else "nothing to push, it is there"
        click.echo(f"{what}: {pushed.repo} {pushed.revision} is commit {pushed.commit}", err=True)
        click.echo(f"{HUB_PREFIX}{pushed.repo}:{pushed.revision}@{pushed.digest}")


def _show(planned: Pushed) -> None:
    on = f"on commit {planned.parent}" if planned.parent else "a new repo"
    click.echo(f"{planned.repo} {planned.revision}, {on}\n")
    echo_table(HEADER, [(file.name, decimal(file.size), file.change) for file in planned.files])
    for text in filter(None, (planned.card, planned.card_diff)):
        click.echo()
        for line in text.splitlines():
            click.echo(printable(line))
