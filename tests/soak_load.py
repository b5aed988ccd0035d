"""A real server under load answers every stream as its request alone. Run by `make soak` alone."""

from __future__ import annotations

from pathlib import Path

from adapterhub.base import BaseModel
from adapterhub.testing import save_tiny_llama
from benchmarks.serve import compare, table


def test_every_stream_under_load_is_what_its_request_gives_alone(tmp_path: Path) -> None:
    folder = save_tiny_llama(tmp_path / "base")
    base = BaseModel.load(str(folder), quantization="int8")
    found = compare(base, str(folder), tmp_path, streams=64, seconds=8, new_tokens=24, prompts=4)
    print(f"\n{table(found)}\nserver / engine: {found.ratio:.2f} of the tokens a second")
    for taken in (found.before, found.server, found.after):
        assert taken.wrong == []
        assert taken.streams >= 64
        assert taken.tokens == 24 * taken.streams
    assert found.mixed > 0.5
