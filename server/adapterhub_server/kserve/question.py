"""One ModelInferRequest, read: which texts, how to generate, what to tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from adapterhub.errors import InvalidInputError, did_you_mean
from adapterhub.pb.compatible import kserve_pb2
from adapterhub_server.batch import check_batch
from adapterhub_server.kserve.options import LORA_NAME, OPTIONS, Options, read_options
from adapterhub_server.kserve.tensors import Input, read_inputs

TEXT = "text_input"
FLAGS: Mapping[str, str] = {
    "return_finish_reason": "finish_reason",
    "return_cumulative_logprob": "cumulative_logprob",
    "return_logprobs": "logprobs",
    "return_num_input_tokens": "num_input_tokens",
    "return_num_output_tokens": "num_output_tokens",
}
"""Inputs that ask for outputs."""
OUTPUTS: Mapping[str, str] = {
    "text_output": "BYTES",
    "finish_reason": "BYTES",
    "cumulative_logprob": "FP32",
    "logprobs": "BYTES",
    "num_input_tokens": "UINT32",
    "num_output_tokens": "UINT32",
}
"""Their datatypes; each has the shape of `text_input`."""
BOOLS = ("stream", "exclude_input_in_output", *FLAGS)
INPUTS = (TEXT, *BOOLS, "sampling_parameters", *OPTIONS)


class Question(NamedTuple):
    """What is asked."""

    request: kserve_pb2.ModelInferRequest
    texts: list[str]
    shape: tuple[int, ...]
    stream: bool
    echo: bool
    """Whether an answer begins with its prompt."""
    outputs: list[str]
    options: Options

    @property
    def raw(self) -> bool:
        return bool(self.request.raw_input_contents)

    @property
    def lora_name(self) -> str:
        return str(self.options.get(LORA_NAME, ""))


def read_question(request: kserve_pb2.ModelInferRequest) -> Question:
    """Raises InvalidInputError naming the input, the output or the parameter."""
    inputs = read_inputs(request)
    for name in inputs:
        if name not in INPUTS:
            raise InvalidInputError(
                f"unknown input {name!r}{did_you_mean(name, INPUTS)} (accepted: {', '.join(INPUTS)})",
                field=f"inputs.{name}",
            )
    flags = {name: _flag(name, inputs[name]) for name in BOOLS if name in inputs}
    texts, shape = _texts(inputs)
    stream = flags.get("stream", False)
    if stream and len(texts) > 1:
        raise InvalidInputError(f"{TEXT}: {len(texts)} texts; a stream is of one", field=f"inputs.{TEXT}")
    echo = not flags.get("exclude_input_in_output", stream)
    if stream and echo:
        field = "exclude_input_in_output"
        raise InvalidInputError(f"{field}: a stream never has the input (accepted: true)", field=f"inputs.{field}")
    options = read_options(request, inputs)
    return Question(request, texts, shape, stream, echo, _outputs(request, flags), options)


def _texts(inputs: Mapping[str, Input]) -> tuple[list[str], tuple[int, ...]]:
    tensor = inputs.get(TEXT)
    if tensor is None or tensor.datatype != "BYTES" or not (len(tensor.shape) == 1 or tensor.shape[1:] == (1,)):
        given = "nothing" if tensor is None else f"{tensor.datatype} of shape {list(tensor.shape)}"
        raise InvalidInputError(f"{TEXT}: {given} given (accepted: BYTES of [n] or [n, 1])", field=f"inputs.{TEXT}")
    check_batch(TEXT, len(tensor.values))
    try:
        return [value.decode() for value in tensor.values if isinstance(value, bytes)], tensor.shape
    except UnicodeDecodeError:
        raise InvalidInputError(f"{TEXT}: not UTF-8", field=f"inputs.{TEXT}") from None


def _flag(name: str, tensor: Input) -> bool:
    if tensor.datatype != "BOOL" or len(tensor.values) != 1:
        raise InvalidInputError(f"{name}: accepted: one BOOL", field=f"inputs.{name}")
    return bool(tensor.values[0])


def _outputs(request: kserve_pb2.ModelInferRequest, flags: Mapping[str, bool]) -> list[str]:
    wanted = {output.name for output in request.outputs} or {"text_output"}
    for output in request.outputs:
        if output.name not in OUTPUTS:
            known = f"{did_you_mean(output.name, OUTPUTS)} (accepted: {', '.join(OUTPUTS)})"
            raise InvalidInputError(f"unknown output {output.name!r}{known}", field=f"outputs.{output.name}")
        if output.parameters:
            raise InvalidInputError(
                f"output {output.name!r}: its parameter {min(output.parameters)!r} is not served (accepted: none)",
                field=f"outputs.{output.name}",
            )
    wanted |= {FLAGS[name] for name in FLAGS if flags.get(name)}
    return [name for name in OUTPUTS if name in wanted]
