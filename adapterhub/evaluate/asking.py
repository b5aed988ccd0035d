"""Every question to every contender, through the engine that serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from adapterhub.adapter import Adapter
from adapterhub.data import Dataset
from adapterhub.engine import Engine, Request, Sampling
from adapterhub.errors import DataError
from adapterhub.evaluate.completing import complete
from adapterhub.evaluate.config import EvalConfig
from adapterhub.evaluate.contender import Contender
from adapterhub.evaluate.questions import Question
from adapterhub.evaluate.table import Answered


def ask_all(
    config: EvalConfig,
    engine: Engine,
    lineup: Sequence[Contender],
    adapters: Mapping[str, Adapter],
    asked: Sequence[Question],
    data: Dataset,
    progress: Callable[[int, int], None],
) -> list[Answered]:
    """The answers of all, in batches that mix them. Raises DataError for a prompt that the context has no room for."""
    tokenizer = engine.base.tokenizer
    prompts = [[each.prompting.encode(tokenizer, question, data.source) for question in asked] for each in lineup]
    virtual = [engine.virtual_tokens(adapters[each.label]) if each.digest else 0 for each in lineup]
    for contender, ids, more in zip(lineup, prompts, virtual, strict=True):
        _check_lengths(config, engine, contender, ids, more, asked, data)
    for adapter in adapters.values():
        engine.load_adapter(adapter)
    done = 0

    def on_answer() -> None:
        nonlocal done
        done += 1
        progress(done, len(lineup) * len(asked))

    groups = []
    for contender, ids in zip(lineup, prompts, strict=True):
        sampling = Sampling(max_new_tokens=config.max_new_tokens, stop=contender.prompting.stop)
        groups.append([Request(tuple(prompt), contender.digest, sampling) for prompt in ids])
    completions = complete(engine, groups, on_answer)
    return [Answered(*each) for each in zip(lineup, prompts, completions, virtual, strict=True)]


def _check_lengths(
    config: EvalConfig,
    engine: Engine,
    contender: Contender,
    prompts: Sequence[Sequence[int]],
    virtual: int,
    asked: Sequence[Question],
    data: Dataset,
) -> None:
    for question, ids in zip(asked, prompts, strict=True):
        if len(ids) + virtual + config.max_new_tokens > engine.limits.max_length:
            parts = f"{len(ids)} prompt + {config.max_new_tokens} new" + (f" + {virtual} virtual" if virtual else "")
            raise DataError(
                data.source,
                question.line,
                f"{contender.label}: {parts} tokens, over {engine.limits.bound}; "
                "fewer --shots or --max-new-tokens are needed",
            )
