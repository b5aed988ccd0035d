"""Tensors of a request and of an answer, typed or raw."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from adapterhub.errors import InvalidInputError
from adapterhub.pb.compatible import kserve_pb2

MAX_DIMENSIONS = 8
"""No tensor of ours has more than two; a product of very many is a very long number."""

Value = bool | int | float | bytes


class Datatype(NamedTuple):
    contents: str
    """The field of InferTensorContents."""
    code: str
    """`struct`'s, of a raw element; empty for BYTES, whose elements stand behind their lengths."""


DATATYPES: Mapping[str, Datatype] = {
    "BOOL": Datatype("bool_contents", "?"),
    "INT8": Datatype("int_contents", "b"),
    "INT16": Datatype("int_contents", "h"),
    "INT32": Datatype("int_contents", "i"),
    "INT64": Datatype("int64_contents", "q"),
    "UINT8": Datatype("uint_contents", "B"),
    "UINT16": Datatype("uint_contents", "H"),
    "UINT32": Datatype("uint_contents", "I"),
    "UINT64": Datatype("uint64_contents", "Q"),
    "FP32": Datatype("fp32_contents", "f"),
    "FP64": Datatype("fp64_contents", "d"),
    "BYTES": Datatype("bytes_contents", ""),
}


class Input(NamedTuple):
    """A tensor that was given."""

    datatype: str
    shape: tuple[int, ...]
    values: tuple[Value, ...]
    """Row by row."""


def read_inputs(request: kserve_pb2.ModelInferRequest) -> dict[str, Input]:
    """By name. Raises InvalidInputError naming the tensor that is not what it says."""
    raws: Sequence[bytes | None] = request.raw_input_contents or [None] * len(request.inputs)
    if len(raws) != len(request.inputs):
        raise InvalidInputError(
            f"raw_input_contents: {len(raws)} for {len(request.inputs)} inputs", field="raw_input_contents"
        )
    inputs: dict[str, Input] = {}
    for tensor, raw in zip(request.inputs, raws, strict=True):
        if tensor.name in inputs:
            raise _wrong(tensor.name, "given twice")
        if tensor.parameters:
            raise _wrong(tensor.name, f"its parameter {min(tensor.parameters)!r} is not served (accepted: none)")
        datatype = DATATYPES.get(tensor.datatype)
        if datatype is None:
            raise _wrong(tensor.name, f"of datatype {tensor.datatype!r} (accepted: {', '.join(DATATYPES)})")
        if raw is not None and tensor.HasField("contents"):
            raise _wrong(tensor.name, "has contents beside raw_input_contents")
        if len(tensor.shape) > MAX_DIMENSIONS:
            raise _wrong(tensor.name, f"{len(tensor.shape)} dimensions (accepted: at most {MAX_DIMENSIONS})")
        typed = getattr(tensor.contents, datatype.contents)
        values = tuple(typed) if raw is None else _unpacked(tensor.name, datatype.code, raw)
        if any(size < 0 for size in tensor.shape) or math.prod(tensor.shape) != len(values):
            raise _wrong(tensor.name, f"{len(values)} elements for shape {list(tensor.shape)}")
        inputs[tensor.name] = Input(tensor.datatype, tuple(tensor.shape), values)
    return inputs


def add_output(
    answer: kserve_pb2.ModelInferResponse,
    name: str,
    datatype: str,
    shape: Sequence[int],
    values: Sequence[Value],
    *,
    raw: bool,
) -> None:
    """Add a tensor to an answer, which has all of its tensors raw or none."""
    field, code = DATATYPES[datatype]
    output = answer.outputs.add(name=name, datatype=datatype, shape=shape)
    if not raw:
        getattr(output.contents, field).extend(values)
    elif code:
        answer.raw_output_contents.append(struct.pack(f"<{len(values)}{code}", *values))
    else:
        texts = [value for value in values if isinstance(value, bytes)]
        answer.raw_output_contents.append(b"".join(struct.pack("<I", len(text)) + text for text in texts))


def _unpacked(name: str, code: str, raw: bytes) -> tuple[Value, ...]:
    if code:
        count, rest = divmod(len(raw), struct.calcsize(f"<{code}"))
        if rest:
            raise _wrong(name, f"its {len(raw)} raw bytes are no whole number of elements")
        return struct.unpack(f"<{count}{code}", raw)
    texts: list[bytes] = []
    begin = 0
    while begin < len(raw):
        end = begin + 4 + int.from_bytes(raw[begin : begin + 4], "little")
        if end > len(raw):
            raise _wrong(name, "its raw bytes end within an element")
        texts.append(raw[begin + 4 : end])
        begin = end
    return tuple(texts)


def _wrong(name: str, problem: str) -> InvalidInputError:
    return InvalidInputError(f"input {name!r}: {problem}", field=f"inputs.{name}")
