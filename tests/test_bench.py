"""The bench's frame: drivers in processes of their own, the check of their answers, what is made of the figures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from adapterhub.base.model import read_base
from benchmarks.adapter_folders import lora_folders
from benchmarks.answers import Probe
from benchmarks.contender import Contender, Recipe, loaded
from benchmarks.peers.protocol import Ask

PYTHON = Path(sys.executable)
OURS = Recipe("adapterhub", "adapterhub_engine", PYTHON, {"quantization": "none"})
PEFT = Recipe("peft", "peft_generate", PYTHON)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def contenders(tiny_base: Path, cache: Path) -> Iterator[tuple[Contender, Contender]]:
    """Ours and PEFT, with the same three adapters."""
    _, shape = read_base(str(tiny_base))
    folders = lora_folders(cache, tiny_base, shape, 3, 4, "float32")
    with ExitStack() as stack:
        yield tuple(  # type: ignore[misc]
            stack.enter_context(loaded(recipe, tiny_base, folders, cache=cache, logs=cache)) for recipe in (OURS, PEFT)
        )


PROBE = Probe([[5, 6, 7, 8], [200, 9, 31, 77]], 3)


def test_contenders_answer_a_mixed_batch_as_the_reference_does_one_by_one(
    contenders: tuple[Contender, Contender],
) -> None:
    ours, peft = contenders
    requests = PROBE.requests()
    truth = [peft.run([request], 12).answers[0] for request in requests]
    assert ours.run(requests, 12).answers == truth
    assert peft.run(requests, 12).answers == truth
    alone = ours.run([Ask(prompt, None) for prompt in PROBE.prompts], 12).answers
    assert PROBE.judge(truth, alone, truth) == (1.0, "")
