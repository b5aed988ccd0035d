"""`adapterhub train`: from a file of examples to a name in the store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from adapterhub.cli.main import cli
from adapterhub.cli.options import parse_options
from adapterhub.errors import ConfigError
from adapterhub.store import Store
from adapterhub.train import TrainConfig


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary folders of a run lie where a test sees what is left of them."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n}?", "completion": str(n)}) + "\n" for n in range(8)))
    return path


def run(data: Path, base: Path, *words: str, name: str = "team/numbers:v1") -> Result:
    given = ("--data", str(data), "--base", str(base), "--name", name)
    return CliRunner().invoke(cli, ["train", *given, *words])


def test_a_trained_adapter_is_published_under_its_name(tiny_base: Path, data: Path, tmp_path: Path) -> None:
    done = run(data, tiny_base, "--max-steps", "2", "-o", "r=4", "-o", 'target_modules=["q_proj"]', "--seed", "3")
    assert done.exit_code == 0, done.output
    (stored,) = Store.default().list()
    assert done.stdout == f"{stored.ref}\n"
    assert "training: step 2/2, loss " in done.stderr
    assert "validation loss " in done.stderr
    adapter = Store.default().resolve("team/numbers:v1")
    assert (adapter.config["r"], adapter.config["target_modules"]) == (4, ["q_proj"])
    assert adapter.provenance is not None
    assert adapter.provenance.training["seed"] == 3
    assert list((tmp_path / "scratch").iterdir()) == []


def test_json_says_what_came_of_it(tiny_base: Path, data: Path) -> None:
    done = run(data, tiny_base, "--method", "bottleneck", "--max-steps", "1", "--quantize", "nf4", "--json")
    report = json.loads(done.stdout)
    assert report["ref"] == "team/numbers:v1"
    assert report["digest"] == Store.default().pin("team/numbers:v1").digest
    assert (report["steps"], report["validation_loss_before"] > 0) == (1, True)


def test_rows_that_were_too_long_are_counted(tiny_base: Path, data: Path) -> None:
    with data.open("a") as lines:
        lines.write(json.dumps({"prompt": "9?", "completion": "9" * 99}) + "\n")
    words = ("--max-steps", "1", "--max-length", "40", "--validation-share", "0")
    assert "data.jsonl:9: " in run(data, tiny_base, *words).stderr
    assert "too long: 1 rows cut off, 0 left out" in run(data, tiny_base, *words, "--overlong", "truncate").stderr
    report = json.loads(run(data, tiny_base, *words, "--overlong", "drop", "--json").stdout)
    assert (report["truncated"], report["dropped"]) == (0, 1)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--method", "lola"), 3, "unknown method 'lola'; did you mean 'lora'? (known: adalora, beft, "),
        (("-o", "rank=8"), 2, "method lora: unknown option 'rank' (known: alora_invocation_tokens, "),
        (("-o", "r=0"), 2, "method lora: r: Input should be greater than or equal to 1 (given: 0)"),
        (("-o", "r"), 2, "option: 'r' is not KEY=VALUE"),
        (("--learning-rate", "fast"), 2, "--learning-rate: Input should be a valid number"),
        (("--batch-size", "0"), 2, "--batch-size: Input should be greater than or equal to 1 (given: '0')"),
        (("--quantize", "int8"), 2, "--quantize: Input should be 'none' or 'nf4' (given: 'int8')"),
        (("--data", "nowhere.jsonl"), 2, "nowhere.jsonl: no such file"),
        (("--name", "../up"), 2, "'../up' is not an adapter reference"),
        (("--base", "no/such/base"), 3, "no/such/base"),
        (("--schedule", "steep"), 2, "--schedule: Input should be 'linear', 'cosine', "),
        (("--resume",), 3, "numbers@v1: no run to resume"),
        (("--resume", "--restart"), 2, "--resume and --restart exclude each other"),
        (("--config", "no.toml"), 2, "no.toml: no such file"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_it(
    tiny_base: Path, data: Path, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    done = run(data, tiny_base, *words)
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert list((tmp_path / "scratch").iterdir()) == []


def test_an_adapter_that_cannot_be_published_is_kept(
    tiny_base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a-file").touch()
    monkeypatch.setenv("ADAPTERHUB_STORE", str(tmp_path / "a-file" / "store"))
    done = run(data, tiny_base, "--max-steps", "1")
    kept = tmp_path / "runs" / "team/numbers@v1" / "adapter"
    assert done.exit_code == 1
    assert f"the trained adapter was not published; it is in {kept}" in done.stderr
    assert (kept / "adapter_model.safetensors").is_file()


HELP = """
import sys
from adapterhub.cli.main import cli
command = cli.get_command(None, "train")
assert "torch" not in sys.modules  # to list verbs and to read flags; the table at the help's end asks every plugin
cli(["train", "--help"], standalone_mode=False)
"""


def test_help_names_every_setting_and_the_verb_does_not_import_torch() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in TrainConfig.model_fields.keys() - {"options", "objective_options", "quantization"}:
        assert f"--{name.replace('_', '-')} " in done.stdout
    for flag in ("--quantize ", "--option ", "--objective-option "):
        assert flag in done.stdout


def test_option_values_are_json_or_text() -> None:
    assert parse_options(["r=8", "use_rslora=true", "target_modules=all-linear", "x=a=b"]) == {
        "r": 8,
        "use_rslora": True,
        "target_modules": "all-linear",
        "x": "a=b",
    }
    with pytest.raises(ConfigError, match="'r' is given twice"):
        parse_options(["r=8", "r=9"])
