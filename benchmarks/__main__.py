"""`python -m benchmarks <name>`."""

from __future__ import annotations

import click

from benchmarks import bench, pool, serve, step


@click.group()
def main() -> None:
    """Measure, and print the figures beside the baseline of the same run."""


for command in bench.commands():
    main.add_command(command)
main.add_command(pool.command)
main.add_command(serve.command)
main.add_command(step.command)
main()
