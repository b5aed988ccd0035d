"""`adapterhub batch`: requests from a file, answers into another."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterhub.batch import BatchConfig
from adapterhub.batch.record import record_path
from adapterhub.cli.answer_progress import answer_progress
from adapterhub.cli.ending import FAILED
from adapterhub.cli.output import echo_json, printable
from adapterhub.cli.server import Server, other_server_options
from adapterhub.errors import ConfigError

if TYPE_CHECKING:
    from adapterhub.batch import BatchResult

EXAMPLE = """\
adapterhub batch requests.jsonl answers.jsonl --base smollm2-135m
adapterhub batch openai-batch.jsonl answers.jsonl --server 127.0.0.1:50151 --skip-bad"""
QUANTIZATIONS = ("none", "int8", "nf4")


@click.command("batch")
@click.argument("input_path", metavar="INPUT", type=click.Path(path_type=Path))
@click.argument("output_path", metavar="OUTPUT", type=click.Path(path_type=Path))
@click.option("--base", metavar="BASE", help="The base of an own engine, if not where the first adapter's record says.")
@click.option(
    "--quantize",
    type=click.Choice(QUANTIZATIONS),
    help="How it is held; by default as for serving: int8 on the CPU, nf4 on CUDA.",
)
@click.option("--max-sequences", type=int, default=32, show_default=True, help="The most generations in one step.")
@other_server_options
@click.option("--skip-bad", is_flag=True, help="Write an error for a line that cannot be asked, and go on.")
@click.option("--overwrite", is_flag=True, help="Begin anew, whatever OUTPUT holds.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    input_path: Path,
    output_path: Path,
    server: Server | None,
    quiet: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Answer every line of INPUT into OUTPUT, in order.

    Each line is a JSON object: {"prompt": ..., "adapter": ..., "max_new_tokens": ...} or a request of OpenAI's batch
    API. All adapters answer from shared batches of an own engine, or of a running server with --server. The whole
    file is checked first. After a kill the same command goes on where it stopped. Exits with 1 when lines have
    errors in the place of answers.
    """
    given = {name: value for name, value in values.items() if value is not None}
    config = BatchConfig.load(given | {"input": input_path, "output": output_path}, where="batch")
    if server is not None and (config.base or config.quantize):
        raise ConfigError("server: has a base already; --base and --quantize are for an own engine", field="server")

    from adapterhub.batch import run_batch

    client = server.client() if server else None
    try:
        with nullcontext() if quiet else answer_progress("batch") as progress:
            found = run_batch(config, client, progress=progress)
    except KeyboardInterrupt:
        click.echo("stopped; the same command goes on from here", err=True)
        raise
    for ref in found.moved if not quiet else ():
        digests = record_path(config.output)
        click.echo(printable(f"note: {ref} names another by now; the digests of {digests} answered"), err=True)
    if as_json:
        echo_json(found._asdict() | {"speed": found.speed})
    elif not quiet:
        click.echo(printable(_summary(config, found)))
    if found.failed:
        raise click.exceptions.Exit(FAILED)


def _summary(config: BatchConfig, found: BatchResult) -> str:
    failed = f", {found.failed} with errors" if found.failed else ""
    if found.before == found.lines:
        return f"{config.output}: finished already, {found.lines} lines{failed}; nothing to do"
    before = f" ({found.before} from before)" if found.before else ""
    adapters = f"{found.adapters} adapter{'' if found.adapters == 1 else 's'}"
    return (
        f"{config.output}: {found.lines} lines{before}{failed}, {adapters}; {found.prompt_tokens} prompt and "
        f"{found.generated_tokens} generated tokens in {found.seconds:.1f} s, {found.speed:.1f} tokens/s"
    )
