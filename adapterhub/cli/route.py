"""`adapterhub route`: from tasks to adapters, on a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adapterhub.cli.confirm import confirm, yes_option
from adapterhub.cli.output import echo_json, echo_table
from adapterhub.cli.server import Server, server_options

if TYPE_CHECKING:
    from adapterhub.client import Route, RouteRule, RouteTarget

EXAMPLE = """\
adapterhub route set support --target team/stable=95 --target team/canary=5
adapterhub route set support --target team/stable --rule "beta: x-plan=beta -> team/canary"
adapterhub route list
adapterhub route rm support --yes"""
HEADER = ("TASK", "RULE", "TARGETS", "FALLBACK", "SYSTEM")
SHOWN = 40
"""Characters of a system prompt in a table."""


@click.group("route")
def command() -> None:
    """List, set and remove the routes of a running server.

    A route says which adapters answer a task's requests, and by which shares.
    """


@command.command("list")
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(server: Server, as_json: bool) -> None:
    """List every route."""
    with server.client() as client:
        routes = client.routes()
    if as_json:
        echo_json([_summary(route) for route in routes])
    elif routes:
        echo_table(HEADER, [row for route in routes for row in _rows(route)])
    else:
        click.echo(f"no routes at {server.address}", err=True)


@command.command("set")
@click.argument("task")
@server_options
@click.option(
    "--target", "targets", multiple=True, required=True, metavar="REF[=WEIGHT]",
    help="An adapter and its share, by default 1; `base` is the bare base. May be repeated.",
)  # fmt: skip
@click.option(
    "--rule", "rules", multiple=True, metavar="'NAME: KEY=VALUE[, ...] -> REF[=WEIGHT][, ...]'",
    help="Targets for requests with this metadata; tried in order, before the others. May be repeated.",
)  # fmt: skip
@click.option(
    "--fallback", type=click.Choice(["error", "base"]), default="error", show_default=True,
    help="What happens when the chosen adapter is not there.",
)  # fmt: skip
@click.option(
    "--system", "system_prompt", metavar="TEXT",
    help="The system turn of chats that bring none, in place of the adapter's.",
)  # fmt: skip
def set_(
    task: str,
    server: Server,
    targets: tuple[str, ...],
    rules: tuple[str, ...],
    fallback: Any,
    system_prompt: str | None,
) -> None:
    """Make a task's route, or replace it."""
    from adapterhub.client import Route

    made = Route(task, tuple(map(_target, targets)), tuple(map(_rule, rules)), fallback, system_prompt)
    with server.client() as client:
        client.set_route(made)
    click.echo(f"{task}: {_shares(made.targets)}", err=True)


@command.command("rm")
@click.argument("task")
@server_options
@yes_option
def rm(task: str, server: Server, yes: bool) -> None:
    """Remove a task's route."""
    confirm(f"Remove the route of {task}?", yes=yes)
    with server.client() as client:
        client.delete_route(task)


def _target(text: str) -> RouteTarget:
    from adapterhub.client import RouteTarget

    ref, equals, weight = text.strip().rpartition("=")
    if not equals:
        ref, weight = weight, "1"
    if not weight.isdecimal():
        raise click.UsageError(f"target {text!r}: {weight!r} is not a weight (accepted: REF or REF=WEIGHT)")
    return RouteTarget("" if ref == "base" else ref, int(weight))


def _rule(text: str) -> RouteRule:
    from adapterhub.client import RouteRule

    name, colon, rest = text.partition(":")
    conditions, arrow, targets = rest.partition("->")
    pairs = [condition.strip().partition("=") for condition in conditions.split(",")]
    if not (colon and arrow and all(equals for _, equals, _ in pairs)):
        raise click.UsageError(f"rule {text!r} is not 'NAME: KEY=VALUE[, ...] -> REF[=WEIGHT][, ...]'")
    metadata = {key: value for key, _, value in pairs}
    return RouteRule(name.strip(), metadata, tuple(map(_target, targets.split(","))))


def _rows(route: Route) -> list[tuple[str, ...]]:
    last = (route.fallback, _short(route.system_prompt or ""))
    rules = [(route.task, _conditions(rule), _shares(rule.targets), *last) for rule in route.rules]
    return [*rules, (route.task, "", _shares(route.targets), *last)]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _conditions(rule: RouteRule) -> str:
    return f"{rule.name}: " + ", ".join(f"{key}={value}" for key, value in sorted(rule.metadata.items()))


def _shares(targets: tuple[RouteTarget, ...]) -> str:
    return ", ".join(f"{target.adapter or 'base'}={target.weight}" for target in targets)


def _summary(route: Route) -> dict[str, Any]:
    return {
        "task": route.task,
        "rules": [
            {"name": rule.name, "metadata": dict(rule.metadata), "targets": _targets(rule.targets)}
            for rule in route.rules
        ],
        "targets": _targets(route.targets),
        "fallback": route.fallback,
        "system_prompt": route.system_prompt,
    }


def _targets(targets: tuple[RouteTarget, ...]) -> list[dict[str, Any]]:
    return [target._asdict() for target in targets]
