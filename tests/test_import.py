"""`adapterhub import`: which adapter of a folder, what of it is taken, and what is refused before anything is kept."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from conftest import save_random_adapter, save_stub_adapter
from safetensors.torch import load_file, save_file
from test_cli import run, run_process

from adapterhub.adapter import (
    CARD_FILE,
    CONFIG_FILE,
    PROVENANCE_FILE,
    TENSORS_FILE,
    BaseRecord,
    Provenance,
    read_folder,
)
from adapterhub.base import base_digest, read_base
from adapterhub.errors import CorruptAdapterError
from adapterhub.imports.plain import pieces
from adapterhub.store import Store


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary folders of an import lie where a test sees what is left of them."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))


@pytest.fixture
def folder(tiny_base: Path, tmp_path: Path) -> Path:
    """A LoRA adapter that fits the tiny base and has no record."""
    return save_random_adapter(tmp_path / "made", "lora", read_base(str(tiny_base))[1], r=2)


def assert_refused(done: Result, code: int, *messages: str) -> None:
    """One line that says why, and nothing published or left behind."""
    assert done.exit_code == code, done.output
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert done.stderr.startswith("error: ")
    assert [message for message in messages if message not in done.stderr] == [], done.stderr
    assert not Store.default().root.exists()
    assert "scratch" not in done.stderr


def test_only_an_adapters_own_files_are_kept(folder: Path, tiny_base: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_base / "tokenizer.json", folder)
    for name in ("training_args.bin", "optimizer.pt", "trainer_state.json", "model.py"):
        (folder / name).touch()
    (folder / CARD_FILE).write_text("a card")
    done = run("import", str(folder), "team/taken:v1", "--base", str(tiny_base))
    assert done.exit_code == 0, done.output
    assert done.stderr == (f"lora: fits base {tiny_base.name}; unverified: which base it was made on is not recorded\n")
    adapter = Store.default().resolve("team/taken:v1")
    assert done.stdout == f"{Store.default().pin('team/taken:v1')}\n"
    assert set(adapter.files) == {CONFIG_FILE, TENSORS_FILE, CARD_FILE}
    assert all(path.read_bytes() == (folder / name).read_bytes() for name, path in adapter.files.items())
    assert list((tmp_path / "scratch").iterdir()) == []


def test_without_a_base_it_is_unverified(folder: Path) -> None:
    done = run("import", str(folder), "taken")
    assert done.stderr == "lora: unverified; with --base its tensors are checked against a base\n"
    assert Store.default().resolve("taken").base is None
    assert "(unverified)" in run("ls").stdout
    assert run("ls", "-q", "--method", "lora").stdout == "taken:latest\n"


def test_a_record_that_is_there_is_kept(folder: Path) -> None:
    made_on = BaseRecord(id="a-base", digest=f"sha256:{'0' * 64}")
    (folder / PROVENANCE_FILE).write_text(Provenance(method="lora", base=made_on).model_dump_json())
    done = run("import", str(folder), "taken")
    assert (done.exit_code, done.stderr) == (0, "")
    assert Store.default().resolve("taken").base == made_on


def test_an_adapter_of_another_base_is_refused_with_its_tensors(folder: Path, other_base: Path) -> None:
    done = run("import", str(folder), "taken", "--base", str(other_base))
    assert_refused(done, 7, f"adapter in {folder} does not fit base", "q_proj.lora_A.weight: the file has (2, 32)")


def several(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).mkdir()
        shutil.copy(folder / CONFIG_FILE, folder / name)
        shutil.copy(folder / TENSORS_FILE, folder / name)
    return folder


def test_of_several_adapters_one_must_be_named(folder: Path) -> None:
    several(folder, ["summaries", "sums"])
    done = run("import", str(folder), "taken")
    assert_refused(done, 2, f"{folder}: 3 adapters, choose one by --adapter: default, summaries, sums")
    assert_refused(
        run("import", str(folder), "taken", "--adapter", "sum"), 3, "no adapter 'sum' (known: default, summaries, sums)"
    )


@pytest.mark.parametrize("words", [("--adapter", "sums"), ("--subfolder", "sums"), ("--subfolder", "./sums/")])
def test_the_named_one_is_taken(folder: Path, words: tuple[str, str]) -> None:
    several(folder, ["sums", "other"])
    values = json.loads((folder / CONFIG_FILE).read_text())
    (folder / "sums" / CONFIG_FILE).write_text(json.dumps(values | {"lora_alpha": 77}))
    assert run("import", str(folder), "taken", *words).exit_code == 0
    assert Store.default().resolve("taken").config["lora_alpha"] == 77


def test_a_folders_only_adapter_may_lie_below(folder: Path) -> None:
    several(folder, ["sums"])
    (folder / CONFIG_FILE).unlink()
    assert run("import", str(folder), "taken").exit_code == 0


def test_a_trainers_checkpoints_are_not_taken_for_adapters_beside_what_they_became(folder: Path) -> None:
    several(folder, ["checkpoint-2", "checkpoint-10"])
    assert run("import", str(folder), "taken").exit_code == 0
    assert run("import", str(folder), "before", "--adapter", "checkpoint-2").exit_code == 0
    (folder / CONFIG_FILE).unlink()
    done = run("import", str(folder), "taken")
    assert (done.exit_code, "2 adapters, choose one by --adapter: checkpoint-10, checkpoint-2" in done.stderr) == (
        2,
        True,
    )


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("taken", "--subfolder", "../made"), 2, "subfolder: '../made' is not a path of plain names"),
        (("taken", "--subfolder", "/etc"), 2, "subfolder: '/etc' is not a path of plain names"),
        (("taken", "--subfolder", ""), 2, "subfolder: '' is not a path of plain names"),
        (("taken", "--subfolder", "none"), 3, "made/none: no such folder"),
        (("taken", "--subfolder", "x" * 300), 2, "File name too long"),
        (("../up",), 2, "'../up' is not an adapter reference"),
        ((f"taken@sha256:{'0' * 64}",), 2, "a digest follows from the content"),
        (("taken", "--base", "no/such/base"), 3, "no/such/base"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, message: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert_refused(run("import", str(folder), *words), code, message)


def test_a_folder_that_is_none_is_named(folder: Path, tmp_path: Path) -> None:
    assert_refused(run("import", str(tmp_path / "nowhere"), "taken"), 3, "nowhere: no such folder")
    assert_refused(run("import", str(folder / CONFIG_FILE), "taken"), 2, f"{CONFIG_FILE}: not a folder")
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    assert_refused(run("import", str(tmp_path / "empty"), "taken"), 3, "empty: no adapter (neither it nor a subfolder")
    words = (str(tmp_path / "empty"), "taken", "--subfolder", "sub")
    assert_refused(run("import", *words), 3, f"empty/sub: no adapter (it has no {CONFIG_FILE})")


def test_a_subfolder_and_an_adapter_are_not_both_named(folder: Path) -> None:
    done = run("import", str(folder), "taken", "--subfolder", "a", "--adapter", "b")
    assert (done.exit_code, "--subfolder or --adapter, not both" in done.stderr) == (2, True)


def link(path: Path) -> None:
    path.symlink_to(Path(shutil.move(path, path.with_name("elsewhere"))))


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def plug(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        # A socket's address is short: bind it from its own folder.
        before = Path.cwd()
        os.chdir(path.parent)
        listening.bind(path.name)
        os.chdir(before)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


HOSTILE = {
    "link": (link, "a link; import a folder of plain files"),
    "link_to_nowhere": (dangle, "a link; import a folder of plain files"),
    "pipe": (pipe, "not a plain file"),
    "socket": (plug, "not a plain file"),
    "directory": (directory, "not a plain file"),
}


@pytest.mark.parametrize("name", [CONFIG_FILE, TENSORS_FILE, PROVENANCE_FILE, CARD_FILE])
@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_plain_file_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    made = save_stub_adapter(tmp_path / "made")
    (made / CARD_FILE).write_text("a card")
    spoil, message = HOSTILE[kind]
    spoil(made / name)
    assert_refused(run("import", str(made), "taken"), 7, f"{made / name}: {message}")


def test_a_subfolder_that_links_elsewhere_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "way").mkdir()
    (tmp_path / "way" / "in").symlink_to(folder)
    assert_refused(run("import", str(tmp_path / "way"), "taken", "--subfolder", "in"), 7, "in: a link to ")
    assert_refused(run("import", str(tmp_path / "way"), "taken"), 3, "no adapter")


def spoiled_tensors(folder: Path) -> None:
    tensors = load_file(folder / TENSORS_FILE)
    next(iter(tensors.values()))[0] = torch.nan
    save_file(tensors, folder / TENSORS_FILE)


def hidden_tensor(folder: Path) -> None:
    save_file({"../up": torch.ones(2), **load_file(folder / TENSORS_FILE)}, folder / TENSORS_FILE)


def rename_tensors(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / TENSORS_FILE).rename(folder / name)


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


CORRUPT: dict[str, tuple[Callable[[Path], object], str]] = {
    "name_twice": (write(CONFIG_FILE, b'{"peft_type": "LORA", "r": 1, "r": 2}'), f"{CONFIG_FILE}: a name stands twice"),
    "long_config": (write(CONFIG_FILE, b"{}" + b" " * (1 << 20)), f"{CONFIG_FILE}: longer than 1048576 bytes"),
    "long_card": (write(CARD_FILE, b" " * (1 << 20) + b" "), f"{CARD_FILE}: longer than 1048576 bytes"),
    "deep_config": (write(CONFIG_FILE, b"[" * 60_000), f"{CONFIG_FILE}: nested more than 32 deep"),
    "nobodys_config": (write(CONFIG_FILE, b"{}"), "no peft_type, and no layout that an installed method can convert"),
    "wrong_record": (write(PROVENANCE_FILE, b'{"method": "lora"}'), f"{PROVENANCE_FILE}: "),
    "unknown_method": (write(CONFIG_FILE, b'{"peft_type": "SOLAR"}'), "no installed method serves peft_type 'SOLAR'"),
    "unknown_option": (write(CONFIG_FILE, b'{"peft_type": "LORA", "lora_magic": 3}'), "option lora_magic=3 is not"),
    "unknown_task": (write(CONFIG_FILE, b'{"peft_type": "LORA", "task_type": "SEQ_CLS"}'), "task_type 'SEQ_CLS'"),
    "pickled": (rename_tensors("adapter_model.bin"), "adapter_model.bin: pickled weights are never loaded"),
    "sharded": (
        rename_tensors("adapter_model-00001-of-00002.safetensors"),
        "adapter_model-00001-of-00002.safetensors: sharded weights are not read",
    ),
    "no_weights": (rename_tensors("weights.safetensors"), f"no {TENSORS_FILE}"),
    "not_finite": (spoiled_tensors, "has values that are not finite"),
    "way_up": (hidden_tensor, "'../up' is not a plain tensor name"),
}


@pytest.mark.parametrize("kind", CORRUPT)
def test_a_corrupt_adapter_is_refused_naming_the_file(folder: Path, kind: str) -> None:
    spoil, message = CORRUPT[kind]
    spoil(folder)
    assert_refused(run("import", str(folder), "taken"), 7, str(folder), message)


def test_a_store_that_cannot_be_written_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a-file").touch()
    monkeypatch.setenv("ADAPTERHUB_STORE", str(tmp_path / "a-file" / "store"))
    done = run("import", str(folder), "taken")
    assert (done.exit_code, "store: cannot be written: " in done.stderr) == (6, True), done.output


def recorded(folder: Path, base: Path, digest: str) -> None:
    record = BaseRecord(id=base.name, digest=digest)
    (folder / PROVENANCE_FILE).write_text(Provenance(method="lora", base=record).model_dump_json())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one, in which no base has a digest yet."""
    monkeypatch.setenv("ADAPTERHUB_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("cache")
def test_a_record_of_another_base_is_refused_where_the_bases_digest_is_known(folder: Path, tiny_base: Path) -> None:
    recorded(folder, tiny_base, f"sha256:{'0' * 64}")
    done = run("import", str(folder), "before", "--base", str(tiny_base), "--json")
    assert (done.exit_code, json.loads(done.stdout)["verified"]) == (0, False)
    shutil.rmtree(Store.default().root)
    base_digest(tiny_base)
    assert_refused(run("import", str(folder), "taken", "--base", str(tiny_base)), 7, "was made on", "this base is")


@pytest.mark.usefixtures("cache")
def test_an_adapter_that_records_the_base_is_verified(folder: Path, tiny_base: Path, tmp_path: Path) -> None:
    recorded(folder, tiny_base, base_digest(tiny_base))
    done = run("import", str(folder), "taken", "--base", str(tiny_base))
    assert done.stderr == f"lora: made on base {tiny_base.name}, and fits it\n"
    shutil.rmtree(tmp_path / "cache")
    done = run("import", str(folder), "taken", "--base", str(tiny_base))
    assert done.stderr.endswith("unverified: the base's digest is not known yet\n")


def test_more_bytes_of_tensors_than_the_limit_are_refused(folder: Path) -> None:
    nbytes = read_folder(folder).nbytes
    done = run("import", str(folder), "taken", "--max-bytes", str(nbytes - 1))
    assert_refused(done, 7, f"{TENSORS_FILE}: {nbytes} bytes of tensors, over the limit of {nbytes - 1}", "--max-bytes")
    assert_refused(run("import", str(folder), "taken", "--max-bytes", "lots"), 2, "max_bytes: not a size")
    assert run("import", str(folder), "taken", "--max-bytes", "1MiB").exit_code == 0


def test_a_file_that_grows_while_it_is_copied_is_cut_off(tmp_path: Path) -> None:
    """Its size was looked at before; nothing is believed of it."""
    with (tmp_path / "grows").open("wb+") as file:
        file.write(bytes(100))
        file.seek(0)
        with pytest.raises(CorruptAdapterError, match="grows: longer than 99 bytes"):
            list(pieces(file, tmp_path / "grows", 99))


def test_a_folder_of_too_many_files_is_not_searched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapterhub.imports.plain.MAX_LISTED_FILES", 1)
    assert_refused(run("import", str(folder), "taken"), 2, f"{folder}: over 1 files")


def test_a_refusal_quotes_only_so_much(folder: Path) -> None:
    (folder / CONFIG_FILE).write_text(json.dumps({"peft_type": "LORA", "lora_magic": "x" * 100_000}))
    done = run("import", str(folder), "taken")
    assert_refused(done, 7, "option lora_magic='xxx", "characters more)")
    assert len(done.stderr) < 5000


HELP = """
import sys
from adapterhub.cli.main import cli
cli(["import", "--help"], standalone_mode=False)
assert "torch" not in sys.modules
"""


def test_help_does_not_import_torch() -> None:
    done = run_process(code=HELP)
    assert done.returncode == 0, done.stderr
    assert "--subfolder NAME" in done.stdout
