"""adapterhub as a library: light to import, and its documented example runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import save_random_adapter

import adapterhub
from adapterhub.adapter import PROVENANCE_FILE, Provenance
from adapterhub.base import BaseModel
from adapterhub.engine import Engine, Request, Sampling
from adapterhub.errors import ConflictError, InvalidInputError
from adapterhub.prompt_format import PromptFormat
from adapterhub.store import Store

PAGE = Path(__file__).parent.parent / "docs" / "library.md"


def test_the_public_list_is_sorted_and_every_name_is_there() -> None:
    assert adapterhub.__all__ == sorted(adapterhub.__all__)
    assert [name for name in adapterhub.__all__ if getattr(adapterhub, name, None) is None] == []
    assert set(adapterhub.__all__) <= set(dir(adapterhub))
    assert adapterhub.Engine is Engine


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'adapterhub' has no attribute 'Engin'"):
        adapterhub.Engin  # noqa: B018


def test_importing_it_imports_no_torch() -> None:
    check = "import sys, adapterhub; dir(adapterhub); sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def test_the_documented_example_mixes_adapters(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = BaseModel.load(str(tiny_base))
    for name, method in (("tickets", "lora"), ("orders", "prompt_tuning")):
        folder = save_random_adapter(tmp_path / name, method, base.shape)
        provenance = Provenance(method=method, base=base.record, prompt_format=PromptFormat.of(base.tokenizer, "raw"))
        (folder / PROVENANCE_FILE).write_text(json.dumps(provenance.model_dump()))
        Store.default().publish(folder, name)
    example = re.search(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert example is not None
    exec(example[1].replace("smollm2-135m", str(tiny_base)), {})
    printed = capsys.readouterr().out
    assert len(re.findall(r"^(?:length|stop) ", printed, flags=re.MULTILINE)) == 6


def test_a_batch_may_be_larger_than_the_queue(tiny_base: Path) -> None:
    requests = [Request((token,), sampling=Sampling(max_new_tokens=3, ignore_eos=True)) for token in range(20)]
    with Engine(BaseModel.load(str(tiny_base)), max_requests=4, kv_tokens=1024) as engine:
        completions = engine.generate(requests)
        assert completions == [engine.generate([request])[0] for request in requests]
        engine.check_integrity()


def test_a_batch_with_a_wrong_request_leaves_nothing_behind(tiny_base: Path) -> None:
    good, wrong = Request((5,), sampling=Sampling(max_new_tokens=500, ignore_eos=True)), Request((258,))
    with Engine(BaseModel.load(str(tiny_base)), kv_tokens=2048) as engine:
        with pytest.raises(InvalidInputError, match="from 0 to 257"):
            engine.generate([good, good, wrong])
        engine.check_integrity()
        assert engine.stats().running == engine.stats().waiting == 0


def test_a_second_engine_on_one_base_is_refused(tiny_base: Path) -> None:
    base = BaseModel.load(str(tiny_base))
    early = Engine(base, kv_tokens=64)
    with Engine(base, kv_tokens=64):
        for second in (lambda: Engine(base, kv_tokens=64), early.start):
            with pytest.raises(ConflictError, match="in use by another engine"):
                second()
    with early:
        assert early.alive
