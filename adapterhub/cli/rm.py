"""`adapterhub rm`: tags out of the store."""

from __future__ import annotations

import click

from adapterhub.cli.confirm import confirm, yes_option
from adapterhub.cli.output import echo_json
from adapterhub.errors import CorruptAdapterError
from adapterhub.store import AdapterRef, Store

EXAMPLE = "adapterhub rm team/digits:old --yes"


@click.command("rm")
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@click.option("--all-tags", is_flag=True, help="Every tag of the names given, not `latest` or the one named.")
@yes_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print references alone.")
def command(refs: tuple[str, ...], all_tags: bool, yes: bool, as_json: bool, quiet: bool) -> None:
    """Remove tags. REF is [namespace/]name[:tag]; a name alone means its tag `latest`.

    The content stays for `adapterhub rollback` until `adapterhub gc` finds it old. What is removed is what
    was shown when asked: a tag that moves meanwhile stays.
    """
    store = Store.default()
    chosen = list(dict.fromkeys(ref for text in refs for ref in _chosen(store, text, all_tags)))
    confirm(f"Remove {', '.join(ref.label for ref in chosen)}?", yes=yes)
    removed = []
    for ref in chosen:
        removed.append(store.remove(ref))
        if not as_json:
            click.echo(ref.label if quiet else f"removed {removed[-1]}")
    if as_json:
        echo_json([{"ref": ref.label, "digest": ref.digest} for ref in removed])


def _chosen(store: Store, text: str, all_tags: bool) -> list[AdapterRef]:
    """What to remove, pinned where it can be read. Raises AdapterNotFoundError."""
    ref = AdapterRef.parse(text)
    tags = [label for label in store.labels() if label.name == ref.name] if all_tags else []
    return [_pinned(store, label) for label in tags or [ref]]


def _pinned(store: Store, ref: AdapterRef) -> AdapterRef:
    try:
        return ref if ref.digest else store.pin(ref)
    except CorruptAdapterError:
        return ref  # a damaged tag goes whatever it held
