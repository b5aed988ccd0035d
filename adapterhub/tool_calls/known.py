"""The formats that are known, by what their families' chat templates write."""

from __future__ import annotations

from adapterhub.tool_calls.call_format import CallFormat
from adapterhub.tool_calls.gemma_calls import GemmaCalls
from adapterhub.tool_calls.json_calls import JsonCalls
from adapterhub.tool_calls.named_calls import NamedCalls
from adapterhub.tool_calls.tagged_calls import TaggedCalls

KNOWN: tuple[CallFormat, ...] = (
    # Qwen 3 Coder, Qwen 3.5 and later, Nemotron 3
    TaggedCalls(
        "function-tags", named=("<function=", ">\n"), ends="</function>\n",
        key=("<parameter=", ">\n"), value=("", "\n</parameter>\n"), gap="\n",
    ),
    # GLM 4.5 and later
    TaggedCalls(
        "argument-tags", named=("", "\n"), ends="",
        key=("<arg_key>", "</arg_key>\n"), value=("<arg_value>", "</arg_value>\n"),
    ),
    # Hermes, Qwen 2.5 and 3, SmolLM 3
    JsonCalls("hermes", "<tool_call>", "</tool_call>"),
    # Mistral: tokenizers from version 11 on, and before
    NamedCalls("mistral-named", "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
    JsonCalls("mistral", "[TOOL_CALLS]", listed=True, short_ids=True),
    # Command R7B and Command A
    JsonCalls(
        "command", "<|START_ACTION|>", "<|END_ACTION|>", listed=True, name_key="tool_name",
        arguments_key="parameters", first='"tool_call_id": "0", ',
    ),
    # FunctionGemma and Gemma 4
    GemmaCalls("function-gemma", "<start_function_call>", "<end_function_call>", "<escape>"),
    GemmaCalls("gemma", "<|tool_call>", "<tool_call|>", '<|"|>'),
    # Llama 3.1 and later
    JsonCalls("llama", "<|python_tag|>", bare=True, arguments_key="parameters"),
)  # fmt: skip
"""Where two know a call, the first counts."""
