"""A batch from its settings to its last result."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from adapterhub.batch.answering import Answering
from adapterhub.batch.asker import Asker
from adapterhub.batch.config import BatchConfig
from adapterhub.batch.input import Checked, Input
from adapterhub.batch.output import Output, Written
from adapterhub.batch.own_engine_of import own_engine_of
from adapterhub.batch.record import ANEW, BatchRecord, record_path
from adapterhub.batch.result import BatchResult
from adapterhub.batch.server_asker import ServerAsker
from adapterhub.batch.usable import Usable
from adapterhub.client import Client
from adapterhub.errors import ConflictError, InvalidInputError

Progress = Callable[[int, int], None]


def run_batch(config: BatchConfig, client: Client | None = None, *, progress: Progress | None = None) -> BatchResult:
    """Answer every request of the input that the output has no result of yet, in order.

    By an own engine, or by the server of `client`, which is closed. `progress(done, total)` is called after each
    answer, on another thread. Nothing is written before the whole input is checked.
    Raises InvalidInputError for its first line that cannot be asked (unless `skip_bad`), ConflictError when the
    output is of another batch or input, what keeps base or adapters from being served, and UnavailableError when
    nobody answers any more; the same call then goes on from there.
    """
    with _opened(config) as given, Output.open(config.output) as output:
        checked = given.check()
        left = _left(config, output, checked)
        lines, failed = left.written
        if left.record is not None and lines == checked.lines:
            adapters = sum(map(bool, left.record.adapters.values()))
            return BatchResult(lines, lines, failed, adapters, 0, 0, 0.0)
        with _asker(config, client, checked, left.record) as asker:
            usable, record = _ready(config, given, checked, left, asker)
            done = itertools.count(lines + 1)
            tell = progress or (lambda done, total: None)
            answering = Answering(asker, usable, output, lambda: tell(next(done), checked.lines))
            answering.run(given.entries(lines, record.created))
            moved = tuple(ref for ref, pin in record.adapters.items() if pin and not asker.names_still(ref, pin))
        return BatchResult(
            lines=checked.lines,
            before=lines,
            failed=failed + answering.failed,
            adapters=sum(map(bool, record.adapters.values())),
            prompt_tokens=answering.prompt_tokens,
            generated_tokens=answering.generated_tokens,
            seconds=answering.seconds,
            moved=moved,
        )


@contextmanager
def _opened(config: BatchConfig) -> Iterator[Input]:
    try:
        with config.input.open("rb") as file:
            yield Input(config.input, file, skip_bad=config.skip_bad)
    except (FileNotFoundError, IsADirectoryError, PermissionError, NotADirectoryError) as error:
        if error.filename != str(config.input):
            raise
        raise InvalidInputError(f"{config.input}: {error.strerror}", field="input") from None


class _Left(NamedTuple):
    """What an earlier run left."""

    record: BatchRecord | None
    written: Written


def _left(config: BatchConfig, output: Output, checked: Checked) -> _Left:
    """Raises ConflictError when the output is not of this batch."""
    if config.overwrite:
        output.clear()
        record_path(config.output).unlink(missing_ok=True)
    record = BatchRecord.read(config.output)
    if record is None:
        if output.nbytes:
            raise ConflictError(f"{config.output}: exists, and {record_path(config.output).name} does not; {ANEW}")
        return _Left(None, Written(0, 0))
    if record.input_sha256 != checked.sha256:
        raise ConflictError(
            f"{config.input}: not what {config.output} was begun with; put that back to go on, or {ANEW}"
        )
    written = output.resume()
    if written.lines > checked.lines:
        raise ConflictError(f"{config.output}: {written.lines} results of {checked.lines} requests; {ANEW}")
    return _Left(record, written)


def _asker(
    config: BatchConfig, client: Client | None, checked: Checked, record: BatchRecord | None
) -> AbstractContextManager[Asker]:
    return own_engine_of(config, checked, record) if client is None else ServerAsker(client)


def _ready(
    config: BatchConfig, given: Input, checked: Checked, left: _Left, asker: Asker
) -> tuple[Usable, BatchRecord]:
    """Adapters and questions checked, and what the batch begins with recorded."""
    before = left.record
    if before is not None:
        _check_same(config, before, asker)
    known = before.adapters if before else {}
    usable = Usable.load(config.input, checked, known, asker, skip_bad=config.skip_bad)
    if not config.skip_bad:
        usable.check(given, left.written.lines, asker)
    record = BatchRecord(
        input_sha256=checked.sha256,
        created=before.created if before else int(config.input.stat().st_mtime),
        base=asker.base,
        runtime_digest=asker.runtime_digest,
        adapters=dict(usable.pinned),
    )
    if record != before:
        record.write(config.output)
    return usable, record


def _check_same(config: BatchConfig, record: BatchRecord, asker: Asker) -> None:
    if record.runtime_digest != asker.runtime_digest:
        raise ConflictError(
            f"{config.output}: begun with the base {record.base}, which is not {asker.base} as it is held now; "
            f"give the same --base and --quantize, or --server, to go on, or {ANEW}"
        )
