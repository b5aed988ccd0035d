"""`adapterhub methods`: every method that is known, how it is trained, and what it is served on."""

from __future__ import annotations

from typing import Any

import click

from adapterhub.cli.output import echo_json, echo_table
from adapterhub.method import Method
from adapterhub.plugins import Methods, installed_methods

EXAMPLE = "adapterhub methods"
HEADER = ("METHOD", "PEFT TYPE", "SITES", "TRAINED", "SERVED ON", "PATH")


@click.command("methods")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List the methods, and what each is served on.

    With the kinds of site they act at, whether they train here, and the bases they are served on.
    PEFT TYPE is told where it is not the name. PATH is `fused` for a method whose rows a core op computes,
    `generic` for one that computes them by its own functions or by PEFT's layers. Adapters of the types listed
    last are refused, with the reason.
    """
    methods = installed_methods()
    found = _summaries(methods)
    if as_json:
        echo_json(found)
        return
    echo_table(HEADER, [_row(summary) for summary in found if summary["served"]])
    for summary in found:
        if not summary["served"]:
            click.echo(f"not served: {summary['peft_type']}: {summary['reason']}")


def _summaries(methods: Methods) -> list[dict[str, Any]]:
    """Methods and presets by name, then the types that are refused."""
    served = [_summary(method) for method in methods.by_name.values()]
    of = {summary["name"]: summary for summary in served}
    presets = [
        of[preset.method] | {"name": preset.name, "preset_of": preset.method, "trained_on": preset.quantization}
        for preset in methods.presets.values()
        if preset.method in of
    ]
    refused = [
        {"name": unserved.name, "peft_type": unserved.peft_type, "served": False, "reason": unserved.reason}
        for unserved in methods.unserved.values()
    ]
    return sorted([*served, *presets], key=lambda summary: str(summary["name"])) + refused


def _summary(method: Method[Any]) -> dict[str, Any]:
    return {
        "name": method.name,
        "peft_type": method.peft_type,
        "served": True,
        "sites": list(method.site_kinds),
        "trained": method.trained,
        "served_on": sorted(method.served_on),
        "path": "fused" if method.is_lowered else "generic",
    }


def _row(summary: dict[str, Any]) -> tuple[str, ...]:
    trained = "yes" if summary["trained"] else "no"
    if "preset_of" in summary:
        trained = f"{summary['preset_of']}, on {summary['trained_on'] or 'any base'}"
    peft_type = "" if summary["peft_type"] == summary["name"].upper() else summary["peft_type"]
    served_on = " ".join(summary["served_on"])
    return (summary["name"], peft_type, " ".join(summary["sites"]), trained, served_on, summary["path"])
