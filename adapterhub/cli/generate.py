"""`adapterhub generate`: ask a running server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from adapterhub.cli.output import echo_json, printable
from adapterhub.cli.server import Server, server_options

if TYPE_CHECKING:
    from adapterhub.client import FormatKind

EXAMPLE = """\
adapterhub generate --adapter team/orders "2 pizzas and a coke"
adapterhub generate --blend team/orders=0.7 --blend team/tickets=0.3 "2 pizzas and a coke"
adapterhub generate --temperature 0.7 --seed 3 --max-new-tokens 64 < prompt.txt"""


def shares(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, float] | None:
    """`REF=WEIGHT`, several times. None where there is none. Raises BadParameter."""
    blend: dict[str, float] = {}
    for text in given:
        ref, _, number = text.rpartition("=")
        if ref in blend:
            raise click.BadParameter(f"{ref} stands here twice; add the weights")
        try:
            blend[ref] = float(number)
        except ValueError:
            ref = ""
        if not ref:
            raise click.BadParameter(f"{text!r} is not REF=WEIGHT, such as team/tickets=0.7")
    return blend or None


@click.command("generate")
@click.argument("prompt", default="-")
@click.option("--adapter", default="", metavar="REF", help="[namespace/]name[:tag][@sha256:...]; without it, the base.")
@server_options
@click.option("--task", default="", metavar="TASK", help="Let the task's route pick the adapter.")
@click.option("--route-key", default="", metavar="KEY", help="The same key gets the same one of a route's targets.")
@click.option(
    "--blend", multiple=True, metavar="REF=WEIGHT", callback=shares, help="One of several adapters at once; repeated."
)
@click.option("--format", "kind", type=click.Choice(["raw", "chat"]), help="Instead of the adapter's recorded format.")
@click.option("--system", "system_prompt", metavar="TEXT", help="The system turn of a chat.")
@click.option("--max-new-tokens", type=int, help="The most tokens to generate.")
@click.option("--temperature", type=float, help="0 takes the likeliest token.")
@click.option("--top-k", type=int, help="Choose among the k likeliest; 0 means all.")
@click.option("--top-p", type=float, help="Choose among the likeliest whose probabilities reach p.")
@click.option("--seed", type=int, help="The same request with the same seed draws the same tokens.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be repeated.")
@click.option("--ignore-eos", is_flag=True, default=None, help="Go on past the end-of-sequence token.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON, once it has ended.")
def command(
    prompt: str,
    adapter: str,
    server: Server,
    task: str,
    route_key: str,
    blend: dict[str, float] | None,
    kind: FormatKind | None,
    system_prompt: str | None,
    as_json: bool,
    **sampling: Any,
) -> None:
    """Generate from PROMPT, as text comes.

    Without PROMPT, or with '-', from standard input.
    """
    text = sys.stdin.read() if prompt == "-" else prompt
    given = {name: value for name, value in sampling.items() if value not in (None, ())}
    asked = {
        "adapter": adapter,
        "task": task,
        "route_key": route_key,
        "blend": blend,
        "kind": kind,
        "system_prompt": system_prompt,
        **given,
    }
    with server.client() as client:
        if as_json:
            answer = client.generate(text, **asked)
            told = {name: getattr(answer, name)._asdict() for name in ("usage", "route", "timings")}
            echo_json(answer._asdict() | told)
            return
        for piece in client.generate_stream(text, **asked):
            click.echo(_shown(piece.text), nl=False)
    click.echo()


def _shown(text: str) -> str:
    """The text; on a terminal, without what could steer it."""
    if not sys.stdout.isatty():
        return text
    return "".join(c if c in "\n\t" else printable(c) for c in text)
