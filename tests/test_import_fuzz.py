"""Whatever is done to an adapter's folder, importing it ends soon: in a sound adapter, or in a refusal that names it.

`--soak` tries 500 spoiled folders.
"""

from __future__ import annotations

import json
import shutil
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_random_adapter
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mutations import OF_BYTES, OF_PLACE, Draw, Mutation, header, header_length, options
from test_cli import run

from adapterhub.adapter import CARD_FILE, CONFIG_FILE, PROVENANCE_FILE, TENSORS_FILE, BaseRecord, Provenance
from adapterhub.base import BaseFolder, base_digest, read_base
from adapterhub.method import BaseShape
from adapterhub.plugins import fit, installed_methods, understand
from adapterhub.store import Store

CPU_SECONDS = 5.0
"""Far above what was measured: the machine is shared, and every allocation is traced."""
PEAK_BYTES = 64 << 20
ADAPTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", {"r": 2, "rank_pattern": {"q_proj": 3}, "alpha_pattern": {r".*\.1\..*_proj": 7.0}}),
    "dora": ("lora", {"r": 2, "use_dora": True, "target_modules": "q_proj|.*down_proj"}),
    "bottleneck": ("bottleneck", {"placement": "houlsby", "reduction_factor": 8}),
    "boft": ("boft", {"target_modules": ["q_proj", "v_proj"]}),
    "fourierft": ("fourierft", {"target_modules": ["q_proj"], "n_frequency": 9}),
    "ia3": ("ia3", {}),
    "prefix_tuning": ("prefix_tuning", {"num_virtual_tokens": 3}),
    "prompt_tuning": ("prompt_tuning", {"num_virtual_tokens": 3}),
    "trainable_tokens": ("trainable_tokens", {"token_indices": [3, 9]}),
    "vera": ("vera", {"r": 4}),
}
LIBRARY = ("seq_bn", "double_seq_bn", "par_bn")
MUTATIONS: dict[str, list[Mutation]] = {
    CONFIG_FILE: [options, options, options, *OF_BYTES, *OF_PLACE],
    TENSORS_FILE: [header, header, header_length, *OF_BYTES, *OF_PLACE],
    PROVENANCE_FILE: [options, options, *OF_BYTES, *OF_PLACE],
    CARD_FILE: [*OF_BYTES, *OF_PLACE],
    "tokenizer.json": [*OF_BYTES, *OF_PLACE],
    "tokenizer_config.json": [options, *OF_BYTES, *OF_PLACE],
}


@pytest.fixture(scope="module")
def sound(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Adapters that can be imported, with all that may lie beside them."""
    root = tmp_path_factory.mktemp("sound")
    base, shape = read_base(str(tiny_base))
    made = {name: save_random_adapter(root / name, method, shape, **more) for name, (method, more) in ADAPTERS.items()}
    for name in LIBRARY:
        made[name] = Path(shutil.copytree(Path(__file__).parent / "adapters_library" / name, root / name))
    record = BaseRecord(id=base.id, digest=base_digest(base.path))
    for name, folder in made.items():
        if name not in LIBRARY:
            provenance = Provenance(method=ADAPTERS[name][0], base=record, training={"steps": 3, "options": {"r": 2}})
            (folder / PROVENANCE_FILE).write_text(json.dumps(provenance.model_dump()))
        (folder / CARD_FILE).write_text("a card")
        shutil.copy(tiny_base / "tokenizer.json", folder)
        shutil.copy(tiny_base / "tokenizer_config.json", folder)
    return made


def spoil(draw: Draw, folder: Path) -> None:
    tensors = [path.name for path in folder.glob("*.safetensors")]
    there = [name for name in MUTATIONS if (folder / name).exists()]
    # Mostly one file, and mostly those that say something.
    for name in draw(st.lists(st.sampled_from([*there, CONFIG_FILE, *tensors]), min_size=1, max_size=2, unique=True)):
        draw(st.sampled_from(MUTATIONS[TENSORS_FILE if name in tensors else name]))(draw, folder / name)


def assert_sound(base: BaseFolder, shape: BaseShape) -> None:
    """What is in the store is on plan, and finite."""
    adapter = Store.default().resolve("fuzz/spoiled:v1")
    method, config = understand(adapter, installed_methods())
    fit(adapter, method, config, shape, base=base.id)
    tensors = adapter.read_tensors()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


def test_what_is_not_spoiled_is_taken(sound: dict[str, Path], tiny_base: Path) -> None:
    """Or refusals of the spoiled would say nothing."""
    base, shape = read_base(str(tiny_base))
    for folder in sound.values():
        done = run("import", str(folder), "fuzz/spoiled:v1", "--base", str(tiny_base))
        assert done.exit_code == 0, done.output
        assert_sound(base, shape)


def test_a_spoiled_adapter_is_sound_or_refused(
    sound: dict[str, Path],
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: Callable[[int, int], int],
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    folder, store = tmp_path / "spoiled", Store.default().root
    codes: Counter[int] = Counter()
    most: list[float] = [0.0, 0]
    base, shape = read_base(str(tiny_base))

    # Not made smaller: one mutation is small, and thousands of imports to see what of it matters take too long.
    phases = (Phase.reuse, Phase.generate)

    @settings(max_examples=count(60, 500), phases=phases, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def imported(data: st.DataObject) -> None:
        for left in (folder, store):
            shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(sound[data.draw(st.sampled_from(sorted(sound)))], folder)
        spoil(data.draw, folder)
        tracemalloc.start()
        started = time.process_time()
        done = run("import", str(folder), "fuzz/spoiled:v1", "--base", str(tiny_base))
        seconds, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        codes[done.exit_code] += 1
        most[:] = max(most[0], seconds), max(most[1], peak)
        assert (seconds < CPU_SECONDS, peak < PEAK_BYTES) == (True, True), (seconds, peak, done.output[:500])
        assert list((tmp_path / "scratch").iterdir()) == []
        assert done.exit_code in (0, 2, 7), (done.exception, done.output[:2000])
        if done.exit_code:
            assert (done.stdout, done.stderr.count("\n"), store.exists()) == ("", 1, False), done.output[:2000]
            assert done.stderr.startswith("error: ")
            assert str(folder) in done.stderr
            assert len(done.stderr) < 8000
        else:
            assert_sound(base, shape)

    imported()
    print(f"by exit code {dict(codes)}; at most {most[0]:.2f} s of a processor, {most[1] / 1e6:.0f} MB")
    assert codes[7]
