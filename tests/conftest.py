"""Shared fixtures: a tiny random base in a folder, with a byte-level tokenizer and chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from safetensors.torch import save_file

from adapterhub import BaseShape
from adapterhub.adapter import CONFIG_FILE, PROVENANCE_FILE, TENSORS_FILE
from adapterhub.plugins import installed_methods

CHAT_TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)

torch.set_num_threads(1)  # tiny matmuls lose more to waiting for a second thread than they gain

settings.register_profile("shared-machine", deadline=None)  # a busy machine is no bug
settings.load_profile("shared-machine")


@pytest.fixture(autouse=True)
def _own_store_and_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's store."""
    monkeypatch.setenv("ADAPTERHUB_STORE", str(tmp_path / "store"))


def save_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer: ids 0 `<s>`, 1 `</s>` (end of sequence), then one id per byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<s>": 0, "</s>": 1} | {symbol: index + 2 for index, symbol in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>", chat_template=CHAT_TEMPLATE
    )
    fast.save_pretrained(folder)


def save_tiny_llama(folder: Path, *, seed: int = 0, hidden: int = 32, layers: int = 3) -> Path:
    """A random Llama of a few thousand parameters whose logits are far from flat."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=258,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=hidden // 4,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random Llama with tokenizer."""
    return save_tiny_llama(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture(scope="session")
def other_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of another width, which no adapter of `tiny_base` fits."""
    return save_tiny_llama(tmp_path_factory.mktemp("other-llama"), seed=1, hidden=48)


def save_random_adapter(
    folder: Path, method: str, shape: BaseShape, *, seed: int = 0, scale: float = 0.3, **options: Any
) -> Path:
    """An adapter in PEFT's layout with random nonzero values in every tensor, never trained."""
    chosen = installed_methods().get(method)
    config = chosen.Config.load(options, where="test")
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        key: torch.randn(size, generator=generator) * scale for key, size in chosen.plan(config, shape).shapes().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / TENSORS_FILE, metadata={"format": "pt"})
    values = {"peft_type": chosen.peft_type, "task_type": "CAUSAL_LM", **config.to_peft()}
    (folder / CONFIG_FILE).write_text(json.dumps(values))
    return folder


def save_stub_adapter(folder: Path, *, value: float = 1.0) -> Path:
    """The smallest adapter with provenance: one tensor filled with `value`; fits no base."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"base_model.model.layer.lora_A.weight": torch.full((2, 3), float(value))}, folder / TENSORS_FILE)
    provenance = {
        "method": "lora",
        "base": {"id": "stub-base", "digest": f"sha256:{'0' * 64}"},
        "evaluations": {"accuracy": 0.5},
        "created": "2026-01-01T00:00:00Z",
    }
    (folder / CONFIG_FILE).write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}))
    (folder / PROVENANCE_FILE).write_text(json.dumps(provenance))
    return folder
