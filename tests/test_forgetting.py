"""What an adapter costs in general ability: the probe it is measured on, and what is replayed against it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from training import train_briefly

from adapterhub.adapter import Provenance
from adapterhub.base import BaseModel
from adapterhub.cli.main import cli
from adapterhub.errors import ConfigError, DataError, InvalidInputError
from adapterhub.general_text import GENERAL_TEXT, general_text_digest
from adapterhub.objective import Fitting, Objective, ObjectiveConfig
from adapterhub.records import Pair
from adapterhub.train import TrainConfig
from adapterhub.train.general_change import GeneralChange
from adapterhub.train.goal import Goal
from adapterhub.train.job import TrainJob
from adapterhub.train.probe import Probe
from adapterhub.train.replay import Replay

PARAGRAPHS = tuple(f"Paragraph {number} of some text,\nwhich nobody has learned." for number in range(12))


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none", device="cpu")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "general.txt"
    path.write_text("\n\n".join(PARAGRAPHS) + "\n")
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"say {n}", "completion": f"it is {n}"}) + "\n" for n in range(30)))
    return path


def job_of(base: BaseModel, folder: Path, **settings: Any) -> TrainJob:
    data = folder / "task.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"{n}?", "completion": "yes"}) + "\n" for n in range(20)))
    values = {"base": "given", "data": data, "validation_share": 0, "prompt_format": "raw", **settings}
    return TrainJob.prepare(TrainConfig.load(values, where="test"), base)


def record_of(base: BaseModel, into: Path, **settings: Any) -> Provenance:
    provenance = train_briefly(base, "lora", into, rate=1e-2, max_steps=2, **settings).adapter.provenance
    assert provenance is not None
    return provenance


def decoded(job: TrainJob) -> list[str]:
    return [str(job.base.tokenizer.decode(row["input_ids"], skip_special_tokens=True)) for row in job.train]


def test_a_probe_is_paragraphs_of_plain_text_or_the_texts_of_jsonl(text: Path, tmp_path: Path) -> None:
    assert Probe.of(text).paragraphs == PARAGRAPHS
    (tmp_path / "general.jsonl").write_text("".join(json.dumps({"text": each, "id": 1}) + "\n" for each in PARAGRAPHS))
    assert Probe.of(tmp_path / "general.jsonl").digest == Probe.of(text).digest
    assert (Probe.of(None).paragraphs, Probe.of(None).digest) == (GENERAL_TEXT, general_text_digest())


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.txt", b" \n\n ", r"a\.txt:1: no text in the file"),
        ("a.txt", b"fine\n\xff\xfe", r"a\.txt:2: not UTF-8"),
        ("a.jsonl", b'{"text": "fine"}\n{"txt": "wrong"}', r"a\.jsonl:2: not \{\"text\": text\}"),
        ("a.jsonl", b'{"text": "fine"}\n\n{"text": " "}', r"a\.jsonl:3: not \{\"text\": text\}"),
        ("a.jsonl", b"{", r"a\.jsonl:1: not \{\"text\": text\}"),
    ],
)
def test_a_wrong_probe_is_named_with_its_line(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=problem):
        Probe.of(tmp_path / name)


def test_a_probe_of_no_more_than_a_token_is_refused(base: BaseModel, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("a\n\nb\n")
    with pytest.raises(DataError, match=r"short\.txt:1: too little text to measure anything on"):
        record_of(base, tmp_path / "out", probe=tmp_path / "short.txt")


def test_forgetting_is_measured_on_the_probe_and_its_digest_recorded(
    base: BaseModel, text: Path, tmp_path: Path
) -> None:
    shipped = record_of(base, tmp_path / "a" / "out")
    own = record_of(base, tmp_path / "b" / "out", probe=text)
    assert own.data["general_text"] == general_text_digest(PARAGRAPHS) != shipped.data["general_text"]
    assert own.forgetting["general_loss_base"] != shipped.forgetting["general_loss_base"]
    assert "probe" not in own.training


def test_the_change_is_said_in_words_and_in_json(tiny_base: Path, pairs: Path, text: Path) -> None:
    words = ["train", "--base", str(tiny_base), "--data", str(pairs), "--max-steps", "2", "--probe", str(text)]
    said = CliRunner().invoke(cli, [*words, "--name", "said"])
    assert said.exit_code == 0, said.output
    report = json.loads(CliRunner().invoke(cli, [*words, "--name", "figures", "--json"]).stdout)
    change = GeneralChange.of(report)
    assert change is not None
    assert f"general text: {change}\n" in said.stderr
    assert report["general_loss_change"] == report["general_loss_adapter"] - report["general_loss_base"] != 0
    assert str(GeneralChange(3.12, 3.4)) == "3.12 -> 3.40 (+0.28 nats per token)"


def test_replayed_rows_are_the_asked_share_of_all_in_the_seeds_order(
    base: BaseModel, pairs: Path, tmp_path: Path
) -> None:
    job = job_of(base, tmp_path, replay=pairs, replay_share=0.2)
    rows = decoded(job)
    replayed = [row for row in rows if row.startswith("say ")]
    assert (len(rows), len(replayed), len(set(replayed))) == (25, 5, 5)
    assert rows[-5:] != replayed
    record = job.data["replay"]
    assert {key: record[key] for key in ("format", "examples", "rows", "share")} == {
        "format": "prompt_completion",
        "examples": 5,
        "rows": 5,
        "share": 0.2,
    }
    assert 0.2 < record["share_of_learned_tokens"] < 0.6
    assert decoded(job_of(base, tmp_path, replay=pairs, replay_share=0.2)) == rows
    assert decoded(job_of(base, tmp_path, replay=pairs, replay_share=0.2, seed=1)) != rows


def test_too_few_replayed_rows_are_repeated(base: BaseModel, text: Path, tmp_path: Path) -> None:
    job = job_of(base, tmp_path, replay=text, replay_share=0.6)
    rows = [row for row in decoded(job) if row.startswith("Paragraph")]
    assert (len(rows), len(set(rows)), job.data["replay"]["rows"]) == (30, 12, 30)


def test_of_replayed_text_all_is_learned_in_pieces_and_of_pairs_the_response(
    base: BaseModel, pairs: Path, tmp_path: Path
) -> None:
    (tmp_path / "long.txt").write_text("word " * 80)
    (row, *_) = [row for row in job_of(base, tmp_path, replay=tmp_path / "long.txt").train if len(row["labels"]) == 128]
    assert row["labels"] == [-100, *row["input_ids"][1:]]
    job = job_of(base, tmp_path, replay=pairs)
    (row, *_) = [row for row in job.train if len(row["labels"]) > 8]
    learned = [token for token in row["labels"] if token != -100]
    assert str(base.tokenizer.decode(learned)).startswith("it is ")


def test_replay_is_part_of_the_record_and_its_path_is_not(base: BaseModel, text: Path, tmp_path: Path) -> None:
    record = record_of(base, tmp_path / "out", replay=text)
    assert len(record.data["replay"]["sha256"]) == 64
    assert str(tmp_path) not in record.model_dump_json()
    assert not {"replay", "replay_share"} & record.training.keys()


def test_what_forgetting_is_measured_on_is_not_trained_on(base: BaseModel, tmp_path: Path) -> None:
    wrapped = GENERAL_TEXT[3].replace(". ", ".\n")
    (tmp_path / "copied.txt").write_text(f"Something else, first.\n\nAnd now: {wrapped} The end.\n")
    with pytest.raises(DataError, match=r"copied\.txt:3: holds a paragraph of the text that forgetting is measured on"):
        job_of(base, tmp_path, replay=tmp_path / "copied.txt", replay_share=0.5)


def test_a_wrong_replay_is_named_before_the_base_is_loaded(tiny_base: Path, pairs: Path, tmp_path: Path) -> None:
    def attempt(**settings: Any) -> None:
        values = {"base": str(tmp_path / "no-base"), "data": pairs, **settings}
        TrainJob.prepare(TrainConfig.load(values, where="test"), None)

    with pytest.raises(InvalidInputError, match=r"nowhere\.txt: no such file"):
        attempt(replay=tmp_path / "nowhere.txt")
    with pytest.raises(InvalidInputError, match=r"nowhere\.txt: no such file"):
        attempt(probe=tmp_path / "nowhere.txt")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match=r"empty\.txt:1: no text in the file"):
        attempt(replay=tmp_path / "empty.txt")
    for share in (0, 1):
        with pytest.raises(ConfigError, match="replay_share: Input should be"):
            attempt(replay=pairs, replay_share=share)


class Ranked(Objective[ObjectiveConfig]):
    """One whose trainer is its own."""

    name = "ranked"
    Config = ObjectiveConfig
    records = (Pair,)
    summary = "none"

    def prepare(self, config: ObjectiveConfig, records: Any, encoder: Any, base: Any) -> list[Any]:
        raise NotImplementedError

    def fitting(self, config: ObjectiveConfig, run: Any) -> Fitting:
        raise NotImplementedError


def test_an_objective_with_a_trainer_of_its_own_replays_nothing_and_says_which_do(pairs: Path) -> None:
    config = TrainConfig(base="given", data=pairs, replay=pairs)
    with pytest.raises(ConfigError, match=r"replay: objective ranked takes none \(accepted: .*sft.*\)"):
        Replay.of(config, Goal(Ranked(), ObjectiveConfig()))
