"""`adapterhub eval`: the table and the verdict, what is recorded, and mistakes in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import save_random_adapter, save_stub_adapter

from adapterhub.adapter import PROVENANCE_FILE, Provenance, write_json
from adapterhub.base import BaseModel
from adapterhub.cli.main import cli
from adapterhub.hub.card_text import section
from adapterhub.prompt_format import PromptFormat
from adapterhub.store import Store


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


@pytest.fixture(autouse=True)
def _two_adapters(base: BaseModel, tmp_path: Path) -> None:
    for seed, (name, method) in enumerate([("team/a:v1", "lora"), ("team/b:v1", "ia3")]):
        folder = save_random_adapter(tmp_path / method, method, base.shape, seed=seed)
        prompts = PromptFormat.of(base.tokenizer, "raw")
        made = Provenance(method=method, base=base.record, prompt_format=prompts, created="2026-01-01T00:00:00Z")
        write_json(folder / PROVENANCE_FILE, made.model_dump())
        Store.default().publish(folder, name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n}?", "completion": str(n)}) + "\n" for n in range(20)))
    return path


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n}!", "completion": str(n)}) + "\n" for n in range(6)))
    return path


def run(base: Path, data: Path, *words: str) -> Result:
    given = ("--base", str(base), "--data", str(data), "--max-new-tokens", "4")
    return CliRunner().invoke(cli, ["eval", *given, *words])


def test_one_table_has_the_prompts_and_the_adapters_and_a_verdict_stands_under_it(
    tiny_base: Path, data: Path, examples: Path
) -> None:
    done = run(tiny_base, data, "team/a:v1", "team/b:v1", "--examples", str(examples), "--shots", "1,3")
    assert done.exit_code == 0, done.output
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["EXACT_MATCH", "TOKEN_F1", "PROMPT", "TOKENS", "GENERATED", "COST"]
    labels = ["base, zero-shot", "base, 1-shot", "base, 3-shot", "team/a:v1", "team/b:v1"]
    assert [line.split("  ")[0] for line in lines[:5]] == labels
    assert lines[3].split()[1:4] == ["0.0", "[0.0,", "0.0]"]
    assert lines[3].endswith("1.00x")
    assert lines[5:7] == ["", "neither prompting nor fine-tuning does it: both have 0 % exact_match"]
    assert "on 20 examples, +0.0 points, 95 % interval +0.0 to +0.0 (paired bootstrap, percentile, 2000" in lines[7]
    assert lines[8].startswith("exact_match: the answer is the expected text")
    assert "evaluating: 100/100 answers" in done.stderr
    assert "note: the best of 2 adapters was picked on these examples" in done.stderr


def test_prices_are_a_column_and_shots_default_to_four(tiny_base: Path, data: Path, examples: Path) -> None:
    done = run(tiny_base, data, "team/a:v1", "--examples", str(examples), "--prompt-price", "1", "--json")
    rows = json.loads(done.stdout)["rows"]
    assert [row["label"] for row in rows] == ["base, zero-shot", "base, 4-shot", "team/a:v1"]
    assert rows[1]["price"] > rows[0]["price"] > 0
    assert "PRICE/1000" in run(tiny_base, data, "--generated-price", "1").stdout.splitlines()[0]


def test_recorded_figures_are_new_content_under_the_same_tag(tiny_base: Path, data: Path) -> None:
    store = Store.default()
    before = store.pin("team/a:v1")
    done = run(tiny_base, data, "team/a:v1", "--record")
    assert done.exit_code == 0, done.output
    after = store.pin("team/a:v1")
    assert f"recorded in {after}" in done.stderr
    assert before.digest != after.digest
    assert store.history("team/a:v1")[-1].action == "eval"
    old, new = store.resolve(before), store.resolve(after)
    assert old.files["adapter_model.safetensors"] == new.files["adapter_model.safetensors"]  # one blob
    assert old.provenance is not None
    assert new.provenance is not None
    assert old.provenance.results == ()
    (result,) = new.provenance.results
    assert (result.examples, result.verdict) == (
        20,
        "neither prompting nor fine-tuning does it: both have 0 % exact_match",
    )
    assert new.provenance.model_copy(update={"results": ()}) == old.provenance

    shown = CliRunner().invoke(cli, ["show", "team/a:v1"]).stdout
    assert "verdict           neither prompting nor fine-tuning" in shown
    card = section(new, "org/a", "main", "org/base")
    assert "## Against prompting the base, on 20 held-out examples" in card
    assert "| with the adapter | 0.0 (0.0 to 0.0) | 0.0 (0.0 to 0.0) |" in card


def test_the_same_figures_again_change_nothing_and_others_take_their_place(
    tiny_base: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.default()
    monkeypatch.setenv("ADAPTERHUB_EVAL_RECORD", "1")
    assert "recorded in " in run(tiny_base, data, "team/a:v1").stderr
    held = store.pin("team/a:v1")
    again = run(tiny_base, data, "team/a:v1", "--record")
    assert f"recorded already in {held}" in again.stderr
    assert store.pin("team/a:v1") == held
    run(tiny_base, data, "team/a:v1", "--record", "--metric", "token_f1")
    provenance = store.resolve("team/a:v1").provenance
    assert provenance is not None
    (result,) = provenance.results
    assert set(result.rows[0].scores) == {"token_f1"}


def test_nothing_is_recorded_unasked(tiny_base: Path, data: Path) -> None:
    before = Store.default().pin("team/a:v1")
    run(tiny_base, data, "team/a:v1")
    assert Store.default().pin("team/a:v1") == before


def test_what_has_no_place_for_figures_is_refused_before_anything_is_asked(
    tiny_base: Path, data: Path, tmp_path: Path
) -> None:
    pinned = Store.default().pin("team/a:v1")
    done = run(tiny_base, data, str(pinned), "--record")
    assert done.exit_code == 2
    assert "is a digest, which cannot change; give name[:tag]" in done.stderr
    folder = save_stub_adapter(tmp_path / "plain")
    (folder / PROVENANCE_FILE).unlink()
    Store.default().publish(folder, "plain")
    done = run(tiny_base, data, "plain", "--record")
    assert done.exit_code == 2
    assert "record: plain has no record of its own" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--metric", "bleuu"), 2, "unknown metric 'bleuu'; did you mean 'bleu'? (known: bleu, exact_match, "),
        (("--shots", "2"), 2, "shots: need --examples FILE, the training set they are taken from"),
        (("--shots", "two"), 2, "shots: 'two' is not whole numbers with commas between"),
        (("--shots", "0"), 2, "eval: shots: whole numbers from 1 up are accepted; zero-shot has its row anyway"),
        (("--data", "nowhere.jsonl"), 2, "nowhere.jsonl: no such file"),
        (("--max-new-tokens", "0"), 2, "max_new_tokens: Input should be greater than or equal to 1"),
        (("team/c",), 3, "no adapter 'team/c' in"),
        (("--metric", "exact_match", "--metric", "regex"), 2, "metric regex: no expression"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(
    tiny_base: Path, data: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    done = run(tiny_base, data, *words)
    assert done.exit_code == code, done.output
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_an_adapter_of_another_base_is_refused_by_name(other_base: Path, data: Path) -> None:
    done = run(other_base, data, "team/a:v1")
    assert done.exit_code == 7
    assert "error: team/a:v1: adapter sha256:" in done.stderr
    assert "was made on " in done.stderr


HELP = """
import sys
from adapterhub.cli.main import cli
cli(["eval", "--help"], standalone_mode=False)
assert "torch" not in sys.modules
"""


def test_help_does_not_import_torch() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
