"""`adapterhub generate`: ask a running server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from adapterhub.cli.output import echo_json, printable_lines
from adapterhub.cli.server import Server, server_options

if TYPE_CHECKING:
    from typing import TextIO

    from adapterhub.client import Choice, FormatKind, Generation, Structure

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
@click.option("--min-p", type=float, help="Choose among tokens at least this much as likely as the likeliest.")
@click.option("--repetition-penalty", type=float, help="Above 1, tokens of the prompt and the text are less likely.")
@click.option("--presence-penalty", type=float, help="Taken from the logits of tokens that were generated.")
@click.option("--frequency-penalty", type=float, help="Taken from a token's logit as often as it was generated.")
@click.option("--logit-bias", type=(int, float), multiple=True, metavar="ID BIAS", help="Add to a token's logit.")
@click.option("--min-tokens", type=int, help="End no sooner.")
@click.option("--bad-word", "bad_words", multiple=True, metavar="TEXT", help="Never generate it; may be repeated.")
@click.option("--seed", type=int, help="The same request with the same seed draws the same tokens.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be repeated.")
@click.option("--stop-token", "stop_token_ids", type=int, multiple=True, metavar="ID", help="End at this token, too.")
@click.option("--ignore-eos", is_flag=True, default=None, help="Go on past the end-of-sequence token.")
@click.option("--logprobs", type=int, metavar="N", help="With --json: tokens' log-probabilities, and the N likeliest.")
@click.option("--prompt-logprobs", type=int, metavar="N", help="With --json: the same of the prompt.")
@click.option("--n", "n", type=int, help="So many answers, each by a seed of its own, once all have ended.")
@click.option("--best-of", type=int, help="The likeliest of so many.")
@click.option("--json-schema", type=click.File(encoding="utf-8"), help="The text will be JSON of this schema.")
@click.option("--regex", metavar="TEXT", help="The text will be matched by this regular expression.")
@click.option("--choice", multiple=True, metavar="TEXT", help="The text will be one of these; may be repeated.")
@click.option("--grammar", type=click.File(encoding="utf-8"), help="The text will be of this Lark grammar.")
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
    json_schema: TextIO | None,
    regex: str | None,
    choice: tuple[str, ...],
    grammar: TextIO | None,
    as_json: bool,
    n: int | None,
    best_of: int | None,
    logit_bias: tuple[tuple[int, float], ...],
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
        **({"logit_bias": dict(logit_bias)} if logit_bias else {}),
        "structure": _structure(json_schema=_text(json_schema), regex=regex, choice=choice, grammar=_text(grammar)),
        **given,
    }
    with server.client() as client:
        if as_json or n is not None or best_of is not None:
            answer = client.generate(text, n=n, best_of=best_of, **asked)
            _show(answer, as_json=as_json)
            return
        for piece in client.generate_stream(text, **asked):
            click.echo(_shown(piece.text), nl=False)
    click.echo()


def _show(answer: Generation, *, as_json: bool) -> None:
    if as_json:
        told = {name: getattr(answer, name)._asdict() for name in ("usage", "route", "timings")}
        choices = [choice._asdict() | {"tool_calls": _calls(choice)} for choice in answer.choices]
        echo_json(answer._asdict() | told | {"choices": choices, "tool_calls": _calls(answer)})
        return
    for number, choice in enumerate(answer.choices, 1):
        click.echo(f"--- {number}\n{_shown(choice.text)}")
    if not answer.choices:
        click.echo(_shown(answer.text))


def _calls(answer: Generation | Choice) -> list[dict[str, str]]:
    return [call._asdict() for call in answer.tool_calls]


def _structure(**given: Any) -> Structure | None:
    """Of what was given."""
    from adapterhub.client import Structure

    options = {kind: value for kind, value in given.items() if value not in (None, ())}
    return Structure(**options) if options else None


def _text(file: TextIO | None) -> str | None:
    return None if file is None else file.read()


def _shown(text: str) -> str:
    """The text; on a terminal, without what could steer it."""
    if not sys.stdout.isatty():
        return text
    return printable_lines(text)
