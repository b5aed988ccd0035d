"""The help of `adapterhub train`: what objective goes with what method on what base."""

from __future__ import annotations

import click

from adapterhub.errors import AdapterHubError

HEADING = "What is trained how"
ON_A_PAGE = "adapterhub.on-a-page"
"""In a context's `meta` where help becomes a page, the same on every machine whatever is installed there."""


class WithTrainingTable(click.Command):
    """A command whose help ends with the table, which asks every plugin, and so takes as long as importing them."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        if ON_A_PAGE in ctx.meta:
            return
        from adapterhub.train.table import table

        with formatter.section(HEADING):
            try:
                lines = table(formatter.width - formatter.current_indent).splitlines()
            except AdapterHubError as error:  # help is also for who named a plugin wrongly
                lines = [str(error)]
            for line in lines:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")
