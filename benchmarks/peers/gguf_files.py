"""A Llama and its LoRA adapters as llama.cpp reads them, from safetensors. Needs numpy and gguf.

What is not covered: other architectures, biases, scaled RoPE.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType, quants

DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OTHER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}

Array = np.ndarray[Any, np.dtype[Any]]


def write_model(model: Path, target: Path, weights: str) -> None:
    """Projections in `weights` (Q4_0, F32), with Q4_0 embeddings and head in Q8_0; norms float32.

    No token means anything to it: the vocabulary is made up and has no end of sequence, so that nothing ends an answer.
    """
    config = json.loads((model / "config.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(_rope_theta(config))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("rwkv")
    writer.add_token_list([f"t{index}" for index in range(config["vocab_size"])])
    writer.add_token_types([gguf.TokenType.NORMAL] * config["vocab_size"])
    for path in sorted(model.glob("*.safetensors")):
        for key, array in read_tensors(path):
            name = _name(key.removesuffix(".weight"))
            if name == "output" and config.get("tie_word_embeddings"):
                continue
            values = _permuted(name, array, heads, kv_heads)
            if values.ndim == 1:
                writer.add_tensor(f"{name}.weight", values)
                continue
            outer = name in OTHER.values() and weights == "Q4_0"  # llama-quantize keeps these finer, too
            kind = GGMLQuantizationType.Q8_0 if outer else GGMLQuantizationType[weights]
            writer.add_tensor(f"{name}.weight", quants.quantize(values, kind), raw_dtype=kind)
    _finish(writer)


def write_adapter(adapter: Path, model: Path, target: Path) -> None:
    """LoRA in PEFT's layout, in float32."""
    config = json.loads((model / "config.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    options = json.loads((adapter / "adapter_config.json").read_text())
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(options["lora_alpha"]))
    for key, array in read_tensors(adapter / "adapter_model.safetensors"):
        module, _, part = key.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".lora_")
        name = _name(module)
        values = _permuted(name, array, heads, kv_heads) if part == "B" else array
        writer.add_tensor(f"{name}.weight.lora_{part.lower()}", values)
    _finish(writer)


def read_tensors(path: Path) -> Iterator[tuple[str, Array]]:
    """Name and float32 values of each tensor of a safetensors file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        for key, facts in header.items():
            if key == "__metadata__":
                continue
            start, end = facts["data_offsets"]
            file.seek(8 + length + start)
            raw = np.frombuffer(file.read(end - start), DTYPES[facts["dtype"]]).reshape(facts["shape"])
            if facts["dtype"] == "BF16":
                raw = (raw.astype(np.uint32) << 16).view(np.float32)
            yield key, raw.astype(np.float32)


def _name(module: str) -> str:
    """`model.layers.0.mlp.up_proj` -> `blk.0.ffn_up`."""
    if module in OTHER:
        return OTHER[module]
    _, _, layer, part = module.split(".", 3)
    return f"blk.{layer}.{LAYER[part]}"


def _permuted(name: str, array: Array, heads: int, kv_heads: int) -> Array:
    """Rows of queries and keys as llama.cpp's rotary embedding pairs them: neighbours, not halves."""
    count = {"attn_q": heads, "attn_k": kv_heads}.get(name.rpartition(".")[2])
    if count is None:
        return array
    rows, columns = array.shape
    halves = array.reshape(count, 2, rows // count // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))


def _rope_theta(config: dict[str, Any]) -> float:
    return float(config.get("rope_theta") or (config.get("rope_parameters") or {}).get("rope_theta") or 10000.0)


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
