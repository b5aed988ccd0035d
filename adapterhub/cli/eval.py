"""`adapterhub eval`: is fine-tuning better than prompting, on examples that were held out?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from adapterhub.adapter import Adapter
from adapterhub.cli.answer_progress import answer_progress
from adapterhub.cli.output import echo_json, echo_table, printable
from adapterhub.errors import ConfigError
from adapterhub.evaluate import EvalConfig, check_recordable, record
from adapterhub.evaluate.config import DEFAULT_METRICS, EvalQuantization
from adapterhub.prompt_format import FormatKind
from adapterhub.store import AdapterRef, Store

if TYPE_CHECKING:
    from adapterhub.evaluate import Evaluation, EvaluationRow

EXAMPLE = """\
adapterhub eval team/tickets:v1 team/tickets:v2 --data test.jsonl --examples train.jsonl --shots 4,16
adapterhub eval team/orders --data test.jsonl --metric json_schema=order.json --metric exact_match --json"""


@click.command("eval")
@click.argument("refs", metavar="[REF]...", nargs=-1)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="File of held-out examples.")
@click.option(
    "--examples", type=click.Path(path_type=Path), help="File that few-shot examples are taken from: the training set."
)
@click.option(
    "--shots",
    metavar="K[,K...]",
    help="How many examples stand in the prompt; a row for each.  [default: 4, with --examples]",
)
@click.option("--base", metavar="BASE", help="Where the base is, if not where the first adapter's record says.")
@click.option(
    "--metric",
    multiple=True,
    metavar="NAME[=ARGUMENT]",
    help=f"What scores the answers; the verdict is on the first.  [default: {', '.join(DEFAULT_METRICS)}]",
)
@click.option("--max-new-tokens", type=int, default=64, show_default=True, help="The most tokens of an answer.")
@click.option(
    "--quantize",
    "quantization",
    type=click.Choice(get_args(EvalQuantization)),
    help="How the base is held; by default as for serving: int8 on the CPU, nf4 on CUDA.",
)
@click.option("--limit", type=int, metavar="N", help="Ask only N of the held-out examples, drawn by the seed.")
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Decides the few-shot examples, the limit's and the resamples.",
)
@click.option(
    "--prompt-format",
    type=click.Choice(get_args(FormatKind)),
    help="Of the base's prompts; by default the first adapter's recorded format.",
)
@click.option(
    "--instruction", metavar="TEXT", help="In front of the base's prompts: a chat's system turn, else a text."
)
@click.option("--prompt-price", type=float, metavar="PRICE", help="Of a million prompt tokens.")
@click.option("--generated-price", type=float, metavar="PRICE", help="Of a million generated tokens.")
@click.option(
    "--record/--no-record",
    "recorded",
    default=False,
    show_default=True,
    help="Publish each adapter anew, under its tag, with the figures in its record; its digest is another then.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(refs: tuple[str, ...], shots: str | None, recorded: bool, as_json: bool, **values: Any) -> None:
    """Compare adapters with prompting their base, on examples that were held out.

    One table for the base without and with examples in its prompt, and for any number of adapters of it: what each
    metric says with its 95 % interval, and the tokens a request takes. Then the verdict: whether fine-tuning is worth
    it. The base and all adapters answer in shared batches of the engine that serves them.
    """
    given = {name: value for name, value in values.items() if value not in (None, ())}
    config = EvalConfig.load(given | ({"shots": _counts(shots)} if shots else {}), where="eval")
    store = Store.default()
    pinned = {ref: store.pin(ref) for ref in dict.fromkeys(refs)}
    adapters = {each.label: store.resolve(each) for each in pinned.values()}
    if recorded:
        for ref, each in pinned.items():
            check_recordable(ref, adapters[each.label])

    from adapterhub.evaluate import evaluate

    with answer_progress() as progress:
        found = evaluate(config, adapters, progress=progress)
    if as_json:
        echo_json(found.as_json())
    else:
        _echo(found)
    for warning in found.warnings:
        click.echo(f"note: {printable(warning)}", err=True)
    if recorded:
        _record(store, list(pinned.values()), adapters, found)


def _counts(words: str) -> list[int]:
    try:
        return [int(word) for word in words.split(",")]
    except ValueError:
        raise ConfigError(f"shots: {words!r} is not whole numbers with commas between", field="shots") from None


def _echo(found: Evaluation) -> None:
    priced = found.rows[0].price is not None
    header = [metric.upper() if "=" not in metric else metric for metric in found.metrics]
    prices = ["PRICE/1000"] if priced else []
    echo_table(["", *header, "PROMPT TOKENS", "GENERATED", "COST", *prices], [_row(row) for row in found.rows])
    click.echo()
    click.echo(found.verdict)
    if (difference := found.difference) is not None:
        click.echo(
            f"{difference.metric}: {difference.adapter} against {difference.prompt} on {found.examples} examples, "
            f"{difference.points:+.1f} points, 95 % interval {difference.low:+.1f} to {difference.high:+.1f} (paired "
            f"bootstrap, percentile, {found.settings['resamples']} resamples, seed {found.settings['seed']})"
        )
    for metric, description in zip(found.metrics, found.descriptions, strict=True):
        click.echo(f"{metric}: {description}")


def _row(row: EvaluationRow) -> list[str]:
    scores = []
    for metric, score in row.scores.items():
        low, high = row.intervals[metric]
        scores.append(f"{100 * score:.1f} [{100 * low:.1f}, {100 * high:.1f}]")
    virtual = f" + {row.virtual_tokens} virtual" if row.virtual_tokens else ""
    cost = f"{row.cost:.2f}x"
    prices = [] if row.price is None else [f"{row.price:.4g}"]
    return [row.label, *scores, f"{row.prompt_tokens:.1f}{virtual}", f"{row.generated_tokens:.1f}", cost, *prices]


def _record(store: Store, pinned: list[AdapterRef], adapters: dict[str, Adapter], found: Evaluation) -> None:
    for each in pinned:
        now = record(store, each, adapters[each.label], found.record_of(each.label))
        same = " already" if now.digest == each.digest else ""
        click.echo(f"recorded{same} in {now}", err=True)
