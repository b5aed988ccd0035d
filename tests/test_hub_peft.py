"""Any adapter that PEFT wrote is pulled as it is; what is pushed, PEFT loads, to the same logits bit for bit."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from conftest import save_random_adapter
from huggingface_hub import HfApi, snapshot_download
from peft import PeftModel
from stand_in_hub import StandInHub
from test_cli import run
from test_import_peft import METHODS, NAMES, saved_by_peft
from transformers import AutoModelForCausalLM, PreTrainedModel

import adapterhub.peft  # noqa: F401  # PEFT learns our methods
from adapterhub.adapter import ADAPTER_FILES, CARD_FILE, CONFIG_FILE, TENSORS_FILE
from adapterhub.base import read_base
from adapterhub.store import Store

REPO = "alice/from-peft"
CASES = ("lora", "dora", "ia3", "prefix_tuning", "prompt_tuning")
# What PEFT notes of its own methods matters to who trains with PEFT.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(tiny_base)
    return model


def logits(model: PeftModel) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(torch.arange(9, 30)[None]).logits
    return found


def loaded(base: PreTrainedModel, folder: Path | str) -> PeftModel:
    return PeftModel.from_pretrained(copy.deepcopy(base), str(folder))


def snapshot(hub: StandInHub, tmp_path: Path) -> str:
    return str(snapshot_download(REPO, endpoint=hub.url, cache_dir=tmp_path / "theirs"))


@pytest.mark.parametrize("case", CASES)
def test_what_peft_wrote_and_huggingface_hub_pushed_is_pulled_as_it_is(
    hub: StandInHub, tiny_base: Path, tmp_path: Path, case: str
) -> None:
    saved_by_peft(tiny_base, *METHODS[case], tmp_path / "saved")
    api = HfApi(endpoint=hub.url)
    api.create_repo(REPO)
    api.upload_folder(repo_id=REPO, folder_path=tmp_path / "saved")
    for name in NAMES:
        words = () if name == "default" else ("--subfolder", name)
        done = run("pull", REPO, *words, "--name", name, "--base", str(tiny_base))
        assert done.exit_code == 0, done.output
        folder = tmp_path / "saved" / ("" if name == "default" else name)
        expected = {path.name: path.read_bytes() for path in folder.iterdir() if path.name in ADAPTER_FILES}
        files = Store.default().resolve(name).files
        assert {file: path.read_bytes() for file, path in files.items()} == expected


@pytest.mark.parametrize("case", CASES)
def test_what_is_pushed_peft_loads_to_the_same_logits(
    hub: StandInHub, base: PreTrainedModel, tiny_base: Path, tmp_path: Path, case: str
) -> None:
    adapted = saved_by_peft(tiny_base, *METHODS[case], tmp_path / "saved")
    assert run("import", str(tmp_path / "saved"), "mine", "--adapter", "default").exit_code == 0
    done = run("push", "mine", REPO, "--base-model", "org/tiny")
    assert done.exit_code == 0, done.output
    adapted.set_adapter("default")
    assert torch.equal(logits(loaded(base, snapshot(hub, tmp_path))), logits(adapted))


def test_a_method_that_peft_does_not_know_goes_to_the_hub_and_back(
    hub: StandInHub, base: PreTrainedModel, tiny_base: Path, tmp_path: Path
) -> None:
    made = save_random_adapter(tmp_path / "made", "bottleneck", read_base(str(tiny_base))[1])
    Store.default().publish(made, "mine")
    assert run("push", "mine", REPO, "--base-model", "org/tiny").exit_code == 0
    folder = snapshot(hub, tmp_path)
    assert torch.equal(logits(loaded(base, folder)), logits(loaded(base, made)))
    assert "import adapterhub.peft" in (Path(folder) / CARD_FILE).read_text()
    assert run("pull", REPO, "--name", "again", "--base", str(tiny_base)).exit_code == 0
    mine, again = (Store.default().resolve(name).files for name in ("mine", "again"))
    for name in (CONFIG_FILE, TENSORS_FILE):
        assert again[name].read_bytes() == mine[name].read_bytes()
