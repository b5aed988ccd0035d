"""`adapterhub plan`: the price of an adapter, from a folder that need not hold a weight."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from adapterhub.cli.main import cli
from adapterhub.estimate import Estimate, Resident, Training


@pytest.fixture
def empty_base(tiny_base: Path, tmp_path: Path) -> Path:
    """The tiny base without its weights."""
    folder = tmp_path / "empty"
    folder.mkdir()
    for file in tiny_base.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def run(base: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["plan", "--base", str(base), *words])


def test_json_is_the_whole_estimate(empty_base: Path) -> None:
    done = run(empty_base, "--method", "lora", "-o", "r=4", "-o", 'target_modules=["q_proj"]', "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert list(found) == list(Estimate.__dataclass_fields__)
    assert [list(way) for way in found["training"]] == [list(Training.__dataclass_fields__)] * 3
    assert list(found["resident"]) == ["none", "int8", "nf4"]
    assert all(list(held) == list(Resident.__dataclass_fields__) for held in found["resident"].values())
    assert (found["base"], found["batch_size"], found["max_length"]) == ("empty", 8, 512)
    assert found["trainable_parameters"] == found["adapter_parameters"] == 3 * 4 * (32 + 32)
    assert found["adapter_bytes"] == 4 * found["adapter_parameters"]


def test_a_table_says_the_same(empty_base: Path) -> None:
    words = ("--method", "qlora", "-o", "r=2", "--batch-size", "2", "--max-length", "64")
    found = json.loads(run(empty_base, *words, "--json").stdout)
    lines = run(empty_base, *words).stdout.splitlines()
    assert f"base                  empty ({found['base_parameters']:,} parameters)" in lines
    assert any(line.endswith("2 x 64 tokens, on " + found["device"]) for line in lines)
    rows = [line.split() for line in lines]
    assert [row[0] for row in rows if "checkpoints" not in row and row[1:2] in (["none"], ["nf4"])] == [
        "full", "lora", "qlora",
    ]  # fmt: skip
    assert [
        "int8",
        f"{found['resident']['int8']['bytes']:,}",
        "bytes",
        f"{found['resident']['int8']['per_gib']:,}",
    ] in rows


@pytest.mark.parametrize("method", ["bottleneck", "ia3", "lora", "p_tuning", "prefix_tuning", "prompt_tuning", "qlora"])
def test_every_method_has_a_price(method: str, empty_base: Path) -> None:
    found = json.loads(run(empty_base, "--method", method, "--json").stdout)
    assert found["trainable_parameters"] >= found["adapter_parameters"] > 0
    others = [] if "lora" in method else [("lora", "none"), ("qlora", "nf4")]
    ways = [(way["name"], way["quantization"]) for way in found["training"]]
    assert ways[0] == ("full", "none")
    assert [quantization for _, quantization in ways[1:3]] == ["none", "nf4"]
    assert ways[3:] == others


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--method", "lola"), 3, "unknown method 'lola'; did you mean 'lora'? (known: adalora, beft, "),
        (("-o", "rank=8"), 2, "method lora: unknown option 'rank' (known: alora_invocation_tokens, "),
        (("-o", 'target_modules=["x"]'), 2, "target_modules: 'x' matches no linear module or embedding of Llama"),
        (("-o", "r"), 2, "option: 'r' is not KEY=VALUE"),
        (("--batch-size", "0"), 2, "--batch-size: Input should be greater than or equal to 1 (given: '0')"),
        (("--base", "no/such/base"), 3, "no/such/base"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_it(empty_base: Path, words: tuple[str, ...], code: int, message: str) -> None:
    done = run(empty_base, *words)
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
