"""Training data: what is refused, with the line; how it is split; and its token ids."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from training import encode
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from adapterhub.data import Dataset, read_dataset
from adapterhub.encoder import IGNORED, Example
from adapterhub.errors import DataError, InvalidInputError
from adapterhub.prompt_format import FormatKind, PromptFormat
from adapterhub.train.examples import batches_by_length, collate

GOOD = b'{"prompt": "a", "completion": "b"}'


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_base)
    return loaded


def write(folder: Path, *lines: bytes) -> Path:
    path = folder / "data.jsonl"
    path.write_bytes(b"\n".join(lines))
    return path


def pairs(folder: Path, *prompts: str) -> Dataset:
    return read_dataset(write(folder, *(json.dumps({"prompt": p, "completion": "x"}).encode() for p in prompts)))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"prompt": "a", ', "not JSON: Expecting property name enclosed in double quotes at column 17"),
        (b"\xff", "not UTF-8 at byte 1"),
        (b'["a", "b"]', "not a JSON object but list"),
        (b'{"prompt": "a"}', "no 'completion'"),
        (b'{"prompts": "a", "completion": "b"}',
         "unknown key 'prompts'; did you mean 'prompt'? (accepted: completion, prompt, tools)"),
        (b'{"prompt": 7, "completion": "b"}', "'prompt' is not text but int"),
        (b'{"prompt": "a", "completion": null}', "'completion' is not text but NoneType"),
        (b'{"prompt": "a", "completion": " "}', "'completion' is empty"),
        (b'{"prompt": "", "completion": "b"}', "'prompt' is empty"),
        (b"[" * 100_000, "not JSON: nested too deeply"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_with_file_and_line(tmp_path: Path, line: bytes, problem: str) -> None:
    path = write(tmp_path, GOOD, b"", line, GOOD)
    with pytest.raises(DataError) as caught:
        read_dataset(path)
    assert str(caught.value) == f"{path}:3: {problem}"
    assert caught.value.line == 3


def test_an_empty_or_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.jsonl:1: no examples in the file"):
        read_dataset(write(tmp_path, b"", b"  "))
    with pytest.raises(InvalidInputError, match=r"nowhere\.jsonl: no such file"):
        read_dataset(tmp_path / "nowhere.jsonl")


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    dataset = read_dataset(write(tmp_path, GOOD))
    assert dataset.sha256 == hashlib.sha256(GOOD).hexdigest()
    assert dataset.pairs == (("a", "b", 1),)


def test_a_split_is_the_same_each_time_and_keeps_a_prompt_on_one_side(tmp_path: Path) -> None:
    dataset = pairs(tmp_path, *(f"p{number % 20}" for number in range(60)))
    train, held_out = dataset.split(0.2, seed=1)
    assert (train, held_out) == dataset.split(0.2, seed=1)
    assert held_out != dataset.split(0.2, seed=2)[1]
    assert len({pair.prompt for pair in held_out.pairs}) == 4
    assert not {pair.prompt for pair in train.pairs} & {pair.prompt for pair in held_out.pairs}
    assert len(train.pairs) + len(held_out.pairs) == 60


def test_one_prompt_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 distinct prompts are too few"):
        pairs(tmp_path, "same", "same").split(0.1, seed=0)


@pytest.mark.parametrize("kind", ["raw", "chat"])
def test_prompt_ids_in_training_are_those_of_serving(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, kind: FormatKind
) -> None:
    prompt_format = PromptFormat.of(tokenizer, kind, "Be brief." if kind == "chat" else None)
    (example,) = encode(pairs(tmp_path, "Was ist das?"), tokenizer, prompt_format, max_length=200)
    served = prompt_format.encode_prompt(tokenizer, "Was ist das?")
    assert example["input_ids"][: len(served)] == served
    assert example["labels"] == [IGNORED] * len(served) + example["input_ids"][len(served) :]
    assert example["labels"][-1] == tokenizer.eos_token_id


def test_a_long_example_is_refused_with_its_line(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    dataset = pairs(tmp_path, "short", "long" * 10)
    with pytest.raises(DataError, match=r"data\.jsonl:2: 42 tokens, over max_length 20"):
        encode(dataset, tokenizer, PromptFormat.of(tokenizer, "raw"), max_length=20)


def test_a_batch_is_padded_on_the_right_and_pads_are_masked() -> None:
    batch = collate([Example(input_ids=[5, 6, 7], labels=[IGNORED, 6, 7]), Example(input_ids=[8], labels=[IGNORED])])
    assert torch.equal(batch["attention_mask"], torch.tensor([[1, 1, 1], [1, 0, 0]]))
    assert torch.equal(batch["labels"], torch.tensor([[IGNORED, 6, 7], [IGNORED] * 3]))
    assert batch["input_ids"].shape == (2, 3)


def test_batches_by_length_hold_every_example_once() -> None:
    examples = [Example(input_ids=[0] * length, labels=[0] * length) for length in (5, 1, 3, 2, 4)]
    lengths = [[len(example["input_ids"]) for example in batch] for batch in batches_by_length(examples, 2)]
    assert lengths == [[1, 2], [3, 4], [5]]
