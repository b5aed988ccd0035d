"""`adapterhub doctor`: what is installed, which kernels are chosen, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from adapterhub.cli.main import Verbs
from adapterhub.cli.output import echo_json, echo_record, printable
from adapterhub.cli.verbs import VERBS
from adapterhub.plugins import load_commands
from adapterhub.settings import config_path, effective, read_config

if TYPE_CHECKING:
    from adapterhub.doctor import Finding

EXAMPLE = """\
adapterhub doctor
adapterhub doctor --json"""


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Tell what is installed, which kernels are chosen and why, and what is wrong.

    Ends with 1 when something is broken. Nothing is asked over the network, and no token is shown.
    """
    from adapterhub.doctor import Finding, examine

    def config() -> Iterator[Finding]:
        path = config_path()
        yield Finding("config", "file", f"{path}" if path.exists() else f"{path} (not there)")
        effective()
        cli = ctx.find_root().command
        assert isinstance(cli, Verbs)
        cli.sections(ctx.find_root(), read_config(path))

    def verbs() -> Iterator[Finding]:
        for plugin in load_commands(taken=VERBS)[1]:
            if plugin.error:
                yield Finding("verbs", plugin.name, plugin.distribution, "broken", plugin.error)

    findings = examine({"config": config, "verbs": verbs})
    broken = [finding for finding in findings if finding.level == "broken"]
    if as_json:
        echo_json({"ok": not broken, "findings": [asdict(finding) for finding in findings]})
    else:
        _print(findings)
    if broken:
        ctx.exit(1)


def _print(findings: tuple[Finding, ...]) -> None:
    """Every area with what was found, then what is wrong."""
    areas: dict[str, dict[str, str]] = {}
    for finding in findings:
        shown = finding.value if finding.level == "ok" else f"{finding.value} ({finding.level})".lstrip()
        areas.setdefault(finding.area, {})[finding.name] = shown
    echo_record(areas)
    told = set()
    for finding in findings:
        if finding.problem and finding.problem not in told:
            told.add(finding.problem)  # a broken config file is met by every check that reads it
            where = finding.area if finding.area == finding.name else f"{finding.area}: {finding.name}"
            click.echo(f"{finding.level}: {where}: {printable(finding.problem)}")
