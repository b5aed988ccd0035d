"""Speaks to a server by tritonclient alone: `python triton_client.py ADDRESS`; prints what it saw as JSON.

Run by the environment of triton.txt, which has nothing of ours.
"""

from __future__ import annotations

import json
import queue
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

PROMPT = "naïve café, 東京"
OPTIONS = {"max_tokens": 12, "ignore_eos": True}


def tensor(name: str, datatype: str, *values: Any) -> Any:
    kind: Any = np.object_ if datatype == "BYTES" else bool
    made = grpcclient.InferInput(name, [len(values)], datatype)
    made.set_data_from_numpy(np.array(values, dtype=kind))
    return made


def inputs(*texts: str, stream: bool = False) -> list[Any]:
    given = [tensor("text_input", "BYTES", *(text.encode() for text in texts))]
    return [*given, tensor("stream", "BOOL", stream), tensor("exclude_input_in_output", "BOOL", True)]


def text(result: Any) -> list[str]:
    return [each.decode() for each in result.as_numpy("text_output").ravel()]


def streamed(client: Any, models: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """What each model streams, and the messages of errors, over one stream."""
    arrived: queue.Queue[Any] = queue.Queue()
    texts: dict[str, str] = {}
    errors: list[str] = []
    ends = 0
    client.start_stream(callback=lambda result, error: arrived.put((result, error)))
    for model in models:
        client.async_stream_infer(
            model, inputs(PROMPT, stream=True), request_id=model, parameters=OPTIONS, enable_empty_final_response=True
        )
    while ends < len(models):
        result, error = arrived.get(timeout=60)
        if error is not None:
            errors.append(error.message())
            ends += 1
            continue
        answer = result.get_response()
        texts[answer.id] = texts.get(answer.id, "") + "".join(text(result))
        ends += answer.parameters["triton_final_response"].bool_param
    client.stop_stream()
    return texts, errors


def main(address: str) -> None:
    with grpcclient.InferenceServerClient(address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        seen: dict[str, Any] = {"server": client.get_server_metadata().name, "ready": client.is_model_ready("orders")}
        base = client.get_model_repository_index().models[0].name
        seen["whole"] = text(client.infer("orders", inputs(PROMPT, "hello"), parameters=OPTIONS))
        seen["base"] = text(client.infer(base, inputs(PROMPT), parameters=OPTIONS))
        seen["texts"], seen["errors"] = streamed(client, ["orders", "watched", "nowhere"])
        try:
            client.infer("orders", inputs(PROMPT), parameters={"beam_width": 2})
        except InferenceServerException as error:
            seen["refused"] = [error.status(), error.message()]
        client.unload_model("watched")
        seen["unloaded"] = not client.is_model_ready("watched")
        client.load_model("watched")
        seen["loaded"] = client.is_model_ready("watched")
        seen["outputs"] = [each.name for each in client.get_model_metadata("orders").outputs]
        print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1])
