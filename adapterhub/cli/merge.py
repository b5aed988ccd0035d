"""`adapterhub merge`: an adapter into its base's weights, or several adapters into one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from adapterhub.cli.output import echo_json, printable
from adapterhub.errors import InvalidInputError, RefError
from adapterhub.merging import KINDS, Combination, Part
from adapterhub.new_folder import check_free
from adapterhub.store import AdapterRef, Store

if TYPE_CHECKING:
    from adapterhub.merging import Merged, Requantization
    from adapterhub.merging.drift import Drift

EXAMPLE = """\
adapterhub merge team/tickets:v2 --out ./tickets-merged
adapterhub merge team/tickets=0.7 team/orders=0.3 --name team/both --combination ties --density 0.5"""

MODEL_FILE = "config.json"
"""A folder that holds it is a model, which --force may replace."""


@click.command("merge")
@click.argument("parts", metavar="REF[=WEIGHT]...", nargs=-1, required=True)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Merge into the base; where the model goes."
)
@click.option("--base", metavar="BASE", help="Where the base is, if not where the adapter's record says.")
@click.option("--requantize", type=click.Choice(["int8", "nf4"]), help="With --out: merge into the base held so.")
@click.option("--force", is_flag=True, help="With --out: replace a folder that holds a model.")
@click.option("--name", "new", metavar="REF", help="Combine into a new adapter; publish as [namespace/]name[:tag].")
@click.option("--combination", type=click.Choice(KINDS), help="With --name: how; by default cat, which is exact.")
@click.option("--density", type=float, help="Of ties, dare and magnitude_prune: the share of values that is kept.")
@click.option("--rank", type=int, help="Of svd: the new adapter's rank; by default the largest of theirs.")
@click.option("--seed", type=int, help="Of dare: decides what is dropped; by default 0.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="With --name: print the reference alone.")
def command(
    parts: tuple[str, ...],
    out: Path | None,
    base: str | None,
    requantize: Requantization | None,
    force: bool,
    new: str | None,
    as_json: bool,
    quiet: bool,
    **how: Any,
) -> None:
    """Merge an adapter into its base's weights, or combine several adapters into a new one.

    With --out: one REF, and a model that transformers loads without PEFT comes out. Methods that are no
    change of weights are refused by name. The model is held against the base with the adapter beside it.

    With --name: REF=WEIGHT, several times, of LoRA or IA3 adapters of one base, whose weights are not read.
    """
    if (out is None) == (new is None):
        raise click.UsageError("need --out FOLDER (one adapter into its base) or --name REF (adapters into one)")
    of_merging = {"requantize": requantize, "force": force or None}
    for name, value in (how if out is not None else of_merging).items():
        if value is not None:
            raise click.UsageError(f"--{name} does not go with --{'out' if out is not None else 'name'}")
    if out is not None:
        _merge(parts, out, base or "", requantize, force, as_json)
    else:
        assert new is not None
        _combine(parts, new, base or "", how, as_json, quiet)


def _merge(
    parts: tuple[str, ...], out: Path, base: str, requantize: Requantization | None, force: bool, as_json: bool
) -> None:
    if len(parts) != 1:
        raise InvalidInputError(
            f"--out takes one adapter, not {len(parts)}; combine them first with --name", field="ref"
        )
    replaces = MODEL_FILE if force else ""
    check_free(out, replaces=replaces)  # before any work
    store = Store.default()
    pinned = store.pin(parts[0])
    adapter = store.resolve(pinned)

    from adapterhub.merging import merge

    merged = merge(adapter, out, base=base, requantize=requantize, replaces=replaces)
    if as_json:
        echo_json(_record(pinned, merged, out))
        return
    verified = "" if adapter.base else " (unverified: the adapter does not record its base)"
    held = f", held as {requantize}," if requantize else ""
    click.echo(f"{pinned.label} into {printable(merged.base.id)}{verified}{held}: {_told(merged.drift)}", err=True)
    if requantize == "int8":
        click.echo("written in fp32; int8 is what a base is held as, so load it as int8", err=True)
    click.echo(str(out))


def _told(drift: Drift) -> str:
    return (
        f"logits drift by {drift.mean:.3g} on average and {drift.max:.3g} at most, of {drift.largest_logit:.3g}; "
        f"the same next token after {drift.top1_agreement:.1%} of {drift.tokens} tokens"
    )


def _record(pinned: AdapterRef, merged: Merged, out: Path) -> dict[str, Any]:
    return {
        "ref": pinned.label,
        "digest": pinned.digest,
        "base": merged.base.model_dump(),
        "requantized": merged.requantized,
        "dtype": str(merged.dtype).removeprefix("torch."),
        "merging": merged.merging._asdict(),
        "drift": merged.drift._asdict(),
        "folder": str(out),
    }


def _combine(parts: tuple[str, ...], new: str, base: str, how: dict[str, Any], as_json: bool, quiet: bool) -> None:
    if AdapterRef.parse(new).digest:
        raise RefError(f"{new}: a digest follows from the content; publish under name[:tag]", field="name")
    combination = Combination.load({"kind": how.pop("combination"), **how}, where="merge")
    store = Store.default()
    chosen = [Part.parse(part, store) for part in parts]

    from adapterhub.merging import combine

    with TemporaryDirectory(prefix="adapterhub-combine-") as folder:
        combined = combine(chosen, combination, Path(folder), base=base)
        published = store.publish(Path(folder), new, action="merge")
    for warning in combined.warnings:
        click.echo(f"warning: {printable(warning)}", err=True)
    provenance = combined.adapter.provenance
    if as_json:
        echo_json(
            {
                "ref": published.label,
                "digest": published.digest,
                "parents": provenance.parents if provenance else (),
                "warnings": combined.warnings,
            }
        )
    else:
        click.echo(published.label if quiet else str(published))
