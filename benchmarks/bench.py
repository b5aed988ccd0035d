"""`python -m benchmarks bench` and its parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from adapterhub.base.cache import cache_folder
from benchmarks.report import write_report
from benchmarks.work import AdapterDtype, Bench, Work
from benchmarks.works import works


def bench_cache() -> Path:
    """What the bench makes once: environments, exports, adapters."""
    return cache_folder() / "bench"


def commands() -> list[click.Command]:
    """One for each part, one for all, and one that makes the peers' environments."""
    parts = [_command(work.name, work.title, [work]) for work in works()]
    return [_command("bench", "All parts of the bench, in one run.", works()), *parts, peers]


def _command(name: str, title: str, chosen: list[Work]) -> click.Command:
    options: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        click.option("--base", default="smollm2-135m", show_default=True, help="Where a part does not have its own."),
        click.option("--rounds", default=3, show_default=True, help="Each runs everything once."),
        click.option("--contenders", default="", help="By name, with commas. All that are there, unless given."),
        click.option(
            "--adapter-dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True
        ),
        click.option("--output", type=click.Path(path_type=Path), default=Path("bench-results"), show_default=True),
    ]

    def run(base: str, rounds: int, contenders: str, adapter_dtype: AdapterDtype, output: Path) -> None:
        names = tuple(contenders.split(",")) if contenders else None
        bench = Bench(
            output.absolute(),
            bench_cache(),
            base,
            rounds,
            names,
            adapter_dtype,
            say=lambda line: click.echo(line, err=True),
        )
        click.echo("\n".join(write_report(bench, chosen)))

    for option in options:
        run = option(run)
    return click.command(name, help=title)(run)


@click.command("peers")
@click.argument("names", nargs=-1)
def peers(names: tuple[str, ...]) -> None:
    """Make the environments of the peers, or of those named; they lie in the user's cache."""
    from benchmarks.peers.environments import make_all

    for line in make_all(bench_cache(), names):
        click.echo(line)
