"""A tokenizer or chat template beside an adapter: never used, and told by name where it is not the base's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import save_random_adapter
from test_cli import run

from adapterhub.base import read_base
from adapterhub.imports.tokenizer_files import MAX_BYTES


@pytest.fixture
def folder(tiny_base: Path, tmp_path: Path) -> Path:
    """A LoRA adapter that fits the tiny base and has no record."""
    return save_random_adapter(tmp_path / "made", "lora", read_base(str(tiny_base))[1], r=2)


def warnings(folder: Path, base: Path) -> list[str]:
    """What an import with this base warns of, without the folder's name."""
    done = run("import", str(folder), "taken", "--base", str(base), "--json")
    assert done.exit_code == 0, done.output
    return [warning.removeprefix(f"{folder}/") for warning in json.loads(done.stdout)["warnings"]]


def a_large_file(path: Path) -> None:
    path.touch()
    os.truncate(path, MAX_BYTES + 1)


TEMPLATE = "{{ messages }}"
TOKENIZERS: dict[str, tuple[str, str | Callable[[Path], object], str]] = {
    "another_vocabulary": ("tokenizer.json", '{"model": {"vocab": {"new": 258}}}', ""),
    "merges": ("merges.txt", "a b", ""),
    "words": ("vocab.txt", "a", ""),
    "ids": ("vocab.json", '{"a": 1}', ""),
    "sentencepiece": ("tokenizer.model", "\0", ""),
    "sentencepiece_too": ("spiece.model", "\0", ""),
    "added": ("added_tokens.json", '{"<new>": 258}', ""),
    "special": ("special_tokens_map.json", '{"eos_token": "<s>"}', ""),
    "no_json": ("tokenizer.json", "tokens", ""),
    "deep_json": ("tokenizer.json", "[" * 50_000, ""),
    "link": ("tokenizer.json", lambda path: path.symlink_to("/dev/zero"), ""),
    "pipe": ("tokenizer.json", os.mkfifo, ""),
    "folder": ("tokenizer.json", Path.mkdir, ""),
    "long": ("tokenizer.json", a_large_file, ""),
    "end": ("tokenizer_config.json", '{"eos_token": {"content": "<s>"}}', ": its eos_token"),
    "begin": ("tokenizer_config.json", '{"bos_token": "</s>"}', ": its bos_token"),
    "adds_begin": ("tokenizer_config.json", '{"add_bos_token": true}', ": its add_bos_token"),
    "no_settings": ("tokenizer_config.json", "{", ""),
    "long_settings": ("tokenizer_config.json", a_large_file, ""),
    "template": ("chat_template.jinja", TEMPLATE, ": its chat_template"),
    "template_link": ("chat_template.jinja", lambda path: path.symlink_to("/etc/passwd"), ": its chat_template"),
    "template_in_settings": ("tokenizer_config.json", json.dumps({"chat_template": TEMPLATE}), ": its chat_template"),
    "old_template": ("chat_template.json", json.dumps({"chat_template": TEMPLATE}), ": its chat_template"),
    "named": ("additional_chat_templates/tools.jinja", TEMPLATE, ": its chat_template 'tools'"),
    "named_in_settings": (
        "tokenizer_config.json",
        json.dumps({"chat_template": [{"name": "tools", "template": TEMPLATE}, 3]}),
        ": its chat_template 'tools'",
    ),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_tokenizer_that_differs_from_the_bases_is_warned_about_by_name(
    folder: Path, tiny_base: Path, kind: str
) -> None:
    name, content, what = TOKENIZERS[kind]
    (folder / name).parent.mkdir(exist_ok=True)
    if isinstance(content, str):
        (folder / name).write_text(content)
    else:
        content(folder / name)
    assert warnings(folder, tiny_base) == [f"{name}{what} differs from the base's, which is used"]


def test_the_bases_own_tokenizer_is_not_warned_about_however_it_is_laid_out(folder: Path, tiny_base: Path) -> None:
    tokenizer = json.loads((tiny_base / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, indent=7))
    settings = json.loads((tiny_base / "tokenizer_config.json").read_text())
    template = (tiny_base / "chat_template.jinja").read_text()
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": template}))
    (folder / "special_tokens_map.json").write_text("{}")
    assert warnings(folder, tiny_base) == []


def test_without_a_base_a_tokenizer_is_mentioned(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    done = run("import", str(folder), "taken")
    assert done.exit_code == 0
    assert f"warning: {folder}/tokenizer.json is not used, the base's is\n" in done.stderr
