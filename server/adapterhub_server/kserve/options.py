"""What a request may say beside its text: names and types of its parameters, and what they are in a request of ours."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from adapterhub.errors import InvalidInputError, did_you_mean
from adapterhub.json_object import load_object
from adapterhub.pb.compatible import kserve_pb2
from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.kserve.tensors import Input

NUMBERS: Mapping[str, tuple[str, type[int] | type[float] | type[bool]]] = {
    "max_tokens": ("max_new_tokens", int),
    "max_new_tokens": ("max_new_tokens", int),
    "min_tokens": ("min_tokens", int),
    "temperature": ("temperature", float),
    "top_k": ("top_k", int),
    "top_p": ("top_p", float),
    "min_p": ("min_p", float),
    "seed": ("seed", int),
    "random_seed": ("seed", int),
    "ignore_eos": ("ignore_eos", bool),
    "repetition_penalty": ("repetition_penalty", float),
    "presence_penalty": ("presence_penalty", float),
    "frequency_penalty": ("frequency_penalty", float),
    "logprobs": ("logprobs", int),
}
"""Fields of our Sampling, and their types."""
LISTS: Mapping[str, tuple[str, type[int] | type[str]]] = {
    "stop": ("stop", str),
    "stop_words": ("stop", str),
    "bad_words": ("bad_words", str),
    "stop_token_ids": ("stop_token_ids", int),
}
"""Likewise; one value alone is a list of one."""
STRUCTURES = ("json_schema", "regex", "grammar", "choice")
"""Fields of our Structure."""
LORA_NAME = "lora_name"
"""The adapter, where the model is the base; as Triton's vLLM backend has it."""
EMPTY_FINAL = "triton_enable_empty_final_response"
"""Sent by clients that ask for it; the last answer says that it is the last, and is never empty."""
OPTIONS = (*NUMBERS, *LISTS, *STRUCTURES, "logit_bias", LORA_NAME, EMPTY_FINAL)

Options = dict[str, Any]


def read_options(request: kserve_pb2.ModelInferRequest, inputs: Mapping[str, Input]) -> Options:
    """By name: the request's parameters, those in the input `sampling_parameters`, and inputs of an option's name.

    Raises InvalidInputError naming one that is not known, or has two values.
    """
    options: Options = {}
    given = [("parameters", name, _parameter(value)) for name, value in sorted(request.parameters.items())]
    if "sampling_parameters" in inputs:
        text = _plain("sampling_parameters", inputs["sampling_parameters"])
        given += [("sampling_parameters", *each) for each in _object("sampling_parameters", text).items()]
    given += [("inputs", name, _plain(name, inputs[name])) for name in inputs if name in OPTIONS]
    for where, name, value in given:
        if name not in OPTIONS:
            known = f"{did_you_mean(name, OPTIONS)} (accepted: {', '.join(OPTIONS)})"
            raise InvalidInputError(f"{where}: unknown parameter {name!r}{known}", field=f"{where}.{name}")
        if value is None:
            continue
        if options.setdefault(name, value) != value:
            raise InvalidInputError(f"{name}: given twice, {options[name]!r} and {value!r}", field=f"{where}.{name}")
    return options


def write_options(options: Options, request: inference_pb2.GenerateRequest) -> None:
    """Fill a request's sampling and structure. Raises InvalidInputError naming the option."""
    kinds = [name for name in STRUCTURES if name in options]
    if len(kinds) > 1:
        raise InvalidInputError(f"{kinds[1]}: not accepted beside {kinds[0]}", field=kinds[1])
    for name, value in options.items():
        if name in NUMBERS:
            field, kind = NUMBERS[name]
            number = _number(name, kind, value)
            if (field, number) != ("top_k", -1):  # vLLM's word for all of them
                _set(request.sampling, field, number, name)
        elif name in LISTS:
            field, each = LISTS[name]
            _set(
                request.sampling,
                field,
                [_text(name, v) if each is str else _number(name, int, v) for v in _list(value)],
                name,
            )
        elif name == "choice":
            request.structure.choice.texts.extend(_text(name, text) for text in _list(value))
        elif name in STRUCTURES:
            text = json.dumps(value) if isinstance(value, dict) else _text(name, value)  # a schema may be an object
            _set(request.structure, name, text, name)
        elif name == "logit_bias":
            _bias(value, request.sampling)


def _parameter(value: kserve_pb2.InferParameter) -> Any:
    choice = value.WhichOneof("parameter_choice")
    return getattr(value, choice) if choice else None


def _plain(name: str, tensor: Input) -> Any:
    """A tensor's one value, or the list of them, with text for bytes."""
    try:
        values = [value.decode() if isinstance(value, bytes) else value for value in tensor.values]
    except UnicodeDecodeError:
        raise InvalidInputError(f"input {name!r}: not UTF-8", field=f"inputs.{name}") from None
    return values[0] if len(values) == 1 else values


def _object(name: str, value: Any) -> dict[str, Any]:
    """A JSON object, or the text of one."""
    if isinstance(value, str):
        try:
            return load_object(value.encode())
        except ValueError as error:
            raise InvalidInputError(f"{name}: {error}", field=name) from None
    if not isinstance(value, dict):
        raise InvalidInputError(f"{name}: {value!r} is no JSON object", field=name)
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _number(name: str, kind: type[int] | type[float] | type[bool], value: Any) -> int | float | bool:
    """Numbers in words are numbers, as in Triton's own samples."""
    try:
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
        if isinstance(value, bool) or not math.isfinite(number := float(value)):
            raise ValueError
        return number if kind is float else int(value) if isinstance(value, int | str) else _whole(number)
    except (KeyError, TypeError, ValueError, OverflowError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise InvalidInputError(f"{name}: {value!r} is not {wanted}", field=name) from None


def _whole(number: float) -> int:
    if number != int(number):
        raise ValueError
    return int(number)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"{name}: {value!r} is no text", field=name)
    return value


def _bias(value: Any, sampling: inference_pb2.Sampling) -> None:
    for token, bias in _object("logit_bias", value).items():
        key, number = _number("logit_bias", int, token), _number("logit_bias", float, bias)
        if not 0 <= key < 1 << 32:
            raise InvalidInputError(f"logit_bias: {token!r} is no token id", field="logit_bias")
        sampling.logit_bias[int(key)] = number


def _set(message: Message, field: str, value: Any, name: str) -> None:
    try:
        if isinstance(value, list):
            getattr(message, field).extend(value)
        else:
            setattr(message, field, value)
    except ValueError:
        raise InvalidInputError(f"{name}: {value!r} is out of range", field=name) from None
