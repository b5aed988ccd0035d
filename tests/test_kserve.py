"""The Open Inference Protocol over our engine, by a real server and its own stub."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from adapterhub_server.access import Access
from adapterhub_server.call import Call
from adapterhub_server.keys import Keys
from adapterhub_server.kserve.options import write_options
from serving import LONG, Serving, serving

from adapterhub.base import BaseModel
from adapterhub.pb.compatible import fmaas_pb2, fmaas_pb2_grpc, kserve_pb2, kserve_pb2_grpc
from adapterhub.pb.v1 import inference_pb2

PROMPT = "naïve café, 東京"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    """Those that ended, in the order they did."""
    return []


@pytest.fixture(scope="module")
def server(tiny_base: Path, calls: list[Call], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    base = BaseModel.load(str(tiny_base), quantization="none")
    with serving(base, tmp_path_factory.mktemp("serving"), observers=[calls.append]) as running:
        running.publish("orders")
        running.publish("shop/watched", "bottleneck")
        yield running
        running.wait_idle()


@pytest.fixture(scope="module")
def stub(server: Serving) -> Iterator[Any]:
    with grpc.insecure_channel(server.address) as channel:
        yield kserve_pb2_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def base(server: Serving) -> str:
    return server.engine.base.record.id


def asked(
    model: str,
    *texts: str,
    flags: dict[str, bool] | None = None,
    outputs: tuple[str, ...] = (),
    id: str = "",  # noqa: A002  the protocol's name
    **parameters: Any,
) -> kserve_pb2.ModelInferRequest:
    """Typed, sixteen greedy tokens, without the input, unless it says otherwise."""
    request = kserve_pb2.ModelInferRequest(model_name=model, id=id)
    request.inputs.add(name="text_input", datatype="BYTES", shape=[len(texts)]).contents.bytes_contents.extend(
        text.encode() for text in texts
    )
    for name, value in ({"exclude_input_in_output": True} | (flags or {})).items():
        request.inputs.add(name=name, datatype="BOOL", shape=[1]).contents.bool_contents.append(value)
    kinds = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    for name, value in ({"max_tokens": 16} | parameters).items():
        setattr(request.parameters[name], kinds[type(value)], value)
    for name in outputs:
        request.outputs.add(name=name)
    return request


def raw(request: kserve_pb2.ModelInferRequest) -> kserve_pb2.ModelInferRequest:
    """The same with raw inputs."""
    made = kserve_pb2.ModelInferRequest()
    made.CopyFrom(request)
    for tensor in made.inputs:
        packed = [struct.pack("<I", len(text)) + text for text in tensor.contents.bytes_contents]
        packed += [struct.pack("<?", value) for value in tensor.contents.bool_contents]
        made.raw_input_contents.append(b"".join(packed))
        tensor.ClearField("contents")
    return made


def texts_of(answer: kserve_pb2.ModelInferResponse, name: str = "text_output") -> list[str]:
    (tensor,) = (tensor for tensor in answer.outputs if tensor.name == name)
    return [text.decode() for text in tensor.contents.bytes_contents]


@pytest.mark.parametrize("model", ["", "orders", "shop/watched"])
def test_a_model_answers_as_our_own_service_does(server: Serving, stub: Any, base: str, model: str) -> None:
    texts = [PROMPT, "hello"]
    own = [server.client.generate(text, adapter=model, max_new_tokens=16) for text in texts]
    answer = stub.ModelInfer(asked(model or base, *texts, id="seven"))
    assert (texts_of(answer), answer.id, answer.model_name) == ([each.text for each in own], "seven", model or base)
    assert answer.model_version == (own[0].adapter_digest or server.engine.base.record.digest)
    pinned = asked(model or base, *texts)
    pinned.model_version = answer.model_version
    assert texts_of(stub.ModelInfer(pinned)) == texts_of(answer)
    with_input = asked(model or base, *texts, flags={"exclude_input_in_output": False})
    assert texts_of(stub.ModelInfer(with_input)) == [text + each.text for text, each in zip(texts, own, strict=True)]


def test_raw_inputs_are_answered_raw_in_the_shape_of_the_input(server: Serving, stub: Any) -> None:
    request = raw(asked("orders", PROMPT, "hello", flags={"return_num_output_tokens": True}))
    request.inputs[0].shape[:] = [2, 1]
    answer = stub.ModelInfer(request)
    own = [server.client.generate(text, adapter="orders", max_new_tokens=16) for text in (PROMPT, "hello")]
    text, count = answer.raw_output_contents
    assert text == b"".join(struct.pack("<I", len(each.text.encode())) + each.text.encode() for each in own)
    assert struct.unpack("<2I", count) == tuple(len(each.token_ids) for each in own)
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in answer.outputs] == [
        ("text_output", "BYTES", [2, 1]),
        ("num_output_tokens", "UINT32", [2, 1]),
    ]


def test_parameters_may_come_in_three_ways(server: Serving, stub: Any, base: str) -> None:
    wanted: dict[str, Any] = {"max_tokens": 12, "temperature": 1.5, "top_k": 40, "top_p": 0.9, "seed": 3}
    own = server.client.generate(
        PROMPT, max_new_tokens=12, temperature=1.5, top_k=40, top_p=0.9, seed=3, stop=["zz"]
    ).text
    plain = asked(base, PROMPT, stop="zz", **wanted)
    as_json = asked(base, PROMPT, max_tokens=12)
    words = {name: str(value) for name, value in wanted.items()} | {"max_tokens": 12, "stop": ["zz"]}
    tensor = as_json.inputs.add(name="sampling_parameters", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(json.dumps(words).encode())
    as_tensors = asked(base, PROMPT, top_k=40, top_p=0.9, max_tokens=12)
    as_tensors.inputs.add(name="temperature", datatype="FP32", shape=[1, 1]).contents.fp32_contents.append(1.5)
    as_tensors.inputs.add(name="seed", datatype="UINT64", shape=[1, 1]).contents.uint64_contents.append(3)
    as_tensors.inputs.add(name="stop_words", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"zz")
    for request in (plain, as_json, as_tensors):
        assert texts_of(stub.ModelInfer(request)) == [own]
    lora = asked(base, PROMPT, lora_name="orders")
    assert texts_of(stub.ModelInfer(lora)) == texts_of(stub.ModelInfer(asked("orders", PROMPT)))
    drawn = {texts_of(stub.ModelInfer(asked(base, PROMPT, temperature=2.0)))[0] for _ in range(3)}
    assert len(drawn) > 1  # each has a seed of its own


def test_options_are_ours_by_other_names() -> None:
    options = {
        "min_tokens": "2",
        "top_k": -1,
        "min_p": 0.1,
        "ignore_eos": "true",
        "presence_penalty": 1,
        "frequency_penalty": -1.5,
        "repetition_penalty": "1.2",
        "bad_words": ["a", "b"],
        "stop_token_ids": [5],
        "logit_bias": {"7": 2},
        "json_schema": {"type": "object"},
    }
    request = inference_pb2.GenerateRequest()
    write_options(options, request)
    assert request.sampling == inference_pb2.Sampling(
        min_tokens=2,
        min_p=0.1,
        ignore_eos=True,
        presence_penalty=1,
        frequency_penalty=-1.5,
        repetition_penalty=1.2,
        bad_words=["a", "b"],
        stop_token_ids=[5],
        logit_bias={7: 2.0},
    )
    assert json.loads(request.structure.json_schema) == {"type": "object"}


def test_outputs_are_those_that_were_asked_for(server: Serving, stub: Any, base: str) -> None:
    own = server.client.generate(PROMPT, max_new_tokens=16, logprobs=2)
    names = ("finish_reason", "cumulative_logprob", "logprobs", "num_input_tokens", "num_output_tokens")
    answer = stub.ModelInfer(asked(base, PROMPT, outputs=names, logprobs=2))
    assert tuple(tensor.name for tensor in answer.outputs) == names
    by_name = {tensor.name: tensor.contents for tensor in answer.outputs}
    assert by_name["finish_reason"].bytes_contents == [own.finish_reason.encode()]
    assert by_name["cumulative_logprob"].fp32_contents[0] == pytest.approx(sum(each.logprob for each in own.logprobs))
    assert by_name["num_input_tokens"].uint_contents == [own.usage.prompt_tokens]
    assert by_name["num_output_tokens"].uint_contents == [len(own.token_ids)]
    (told,) = texts_of(answer, "logprobs")
    for each, token, logprobs in zip(json.loads(told), own.token_ids, own.logprobs, strict=True):
        assert each[str(token)]["logprob"] == pytest.approx(logprobs.logprob)
        assert {key: value["rank"] for key, value in each.items()} == {
            str(top): rank for rank, (top, _) in enumerate(logprobs.top, start=1)
        }


def test_one_stream_answers_many_requests_side_by_side(
    server: Serving, stub: Any, base: str, calls: list[Call]
) -> None:
    """Whole and in pieces, of several models; what one does wrong is its own."""
    models = [base, "orders", "shop/watched", "nowhere", base]
    requests = [
        asked(model, f"{PROMPT} {number}", id=str(number), flags={"stream": number % 2 == 0}, ignore_eos=True)
        for number, model in enumerate(models)
    ]
    requests[4].parameters["surprise"].bool_param = True
    before, mixed = len(calls), server.engine.stats().mixed_adapter_steps
    server.pace.seconds = 0.002
    answers = list(stub.ModelStreamInfer(iter(requests)))
    server.pace.seconds = 0.0
    ended = calls[before:]
    assert server.engine.stats().mixed_adapter_steps > mixed
    for number, model in enumerate(models[:3]):
        mine = [each.infer_response for each in answers if each.infer_response.id == str(number)]
        adapter = "" if model == base else model
        own = server.client.generate(f"{PROMPT} {number}", adapter=adapter, max_new_tokens=16, ignore_eos=True)
        assert "".join(text for each in mine for text in texts_of(each)) == own.text
        finals = [each.parameters["triton_final_response"].bool_param for each in mine]
        assert finals == [False] * (len(mine) - 1) + [True]
        assert (len(mine) > 1) == (number % 2 == 0)
    errors = {each.infer_response.id: each.error_message for each in answers if each.error_message}
    assert errors.keys() == {"3", "4"}
    assert "nowhere" in errors["3"]
    assert "unknown parameter 'surprise'" in errors["4"]
    assert [call.rpc for call in ended[:-1]] == ["GRPCInferenceService/ModelStreamInfer/request"] * 5
    assert sorted(call.generated_tokens for call in ended) == [0, 0, 0, 16, 16, 16]
    assert {call.outcome for call in ended} == {"length", "ADAPTER_NOT_FOUND", "INVALID_INPUT", "ok"}
    assert (ended[-1].rpc, ended[-1].outcome) == ("GRPCInferenceService/ModelStreamInfer", "ok")


def test_leaving_a_stream_ends_what_it_asked_for(server: Serving, stub: Any, calls: list[Call]) -> None:
    requests = [asked("orders", PROMPT, max_tokens=LONG, flags={"stream": True}, ignore_eos=True) for _ in range(3)]
    before = len(calls)
    with server.cut_short():
        answers = stub.ModelStreamInfer(iter(requests))
        next(answers)
        answers.cancel()
        server.wait_until(lambda: len(calls) == before + 4)
    server.pace.seconds = 0.0
    assert {call.status for call in calls[before:]} == {"CANCELLED"}


def test_what_is_no_message_ends_a_stream(server: Serving) -> None:
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as refused:
        list(channel.stream_stream(STREAM, bytes, bytes)(iter([b"\xff\xff"])))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def broken(**change: Any) -> kserve_pb2.ModelInferRequest:
    """A good request with a change."""
    request = asked("orders", "hello")
    for name, value in change.items():
        if name == "tensor":
            request.inputs.add(**value)
        elif name == "shape":
            request.inputs[0].shape[:] = value
        elif name == "text":
            request.inputs[0].contents.bytes_contents[:] = value
        elif name == "raws":
            request.raw_input_contents.extend(value)
        elif name == "output":
            request.outputs.add(**value)
        else:
            setattr(request, name, value)
    return request


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (asked("orders", "hello", beam_width=3), "parameters: unknown parameter 'beam_width'"),
        (asked("orders", "hello", temperatur=3), "did you mean 'temperature'"),
        (asked("orders", "hello", max_tokens="many"), "max_tokens: 'many' is not a whole number"),
        (asked("orders", "hello", top_k=-2), "top_k: -2 is out of range"),
        (asked("orders", "hello", temperature=11.0), "temperature"),
        (asked("orders", "hello", max_new_tokens=4, json_schema="{}", regex="a"), "regex: not accepted beside"),
        (asked("orders", "hello", logit_bias="[]"), "logit_bias"),
        (asked("orders", "hello", lora_name="orders"), "lora_name: needs the base"),
        (asked("orders", "hello", flags={"stream": True}), "stream: needs ModelStreamInfer"),
        (asked("orders", "hello " * 90), "tokens leave no room for an answer in the context of 512"),
        (asked("", "hello"), "model_name: nothing given"),
        (asked("orders", *["hello"] * 65), "accepted: 1 to 64"),
        (broken(shape=[2]), "1 elements for shape"),
        (broken(shape=[1] * 9), "9 dimensions"),
        (broken(shape=[1, 1, 1]), "accepted: BYTES of"),
        (broken(text=[b"\xff"]), "text_input: not UTF-8"),
        (broken(tensor={"name": "image", "datatype": "BYTES", "shape": [0]}), "unknown input 'image'"),
        (broken(tensor={"name": "stream", "datatype": "FP16", "shape": [1]}), "of datatype 'FP16'"),
        (broken(tensor={"name": "text_input", "datatype": "BYTES", "shape": [0]}), "given twice"),
        (broken(raws=[b"\x01"]), "1 for 2 inputs"),
        (broken(raws=[b"", b""]), "has contents beside"),
        (broken(output={"name": "embedding"}), "unknown output 'embedding'"),
        (
            broken(output={"name": "text_output", "parameters": {"classification": {"int64_param": 1}}}),
            "its parameter 'classification' is not served",
        ),
    ],
)
def test_what_is_not_served_is_refused_by_its_name(
    server: Serving, stub: Any, wrong: kserve_pb2.ModelInferRequest, said: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(wrong)
    error: Any = refused.value
    assert (error.code(), said in error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, True), error.details()


def test_raw_elements_that_are_cut_off_are_refused(server: Serving, stub: Any) -> None:
    for wrong in (b"\x05\x00\x00\x00hell", b"\x05\x00"):
        request = raw(asked("orders", "hello"))
        request.raw_input_contents[0] = wrong
        with pytest.raises(grpc.RpcError, match="end within an element"):
            stub.ModelInfer(request)


def test_the_repository_is_the_catalog(server: Serving, stub: Any, base: str) -> None:
    server.publish("mine", base=server.engine.base.record)
    name = "orders"
    index = {each.name: each for each in stub.RepositoryIndex(kserve_pb2.RepositoryIndexRequest()).models}
    assert index.keys() >= {base, "mine", name}
    assert index[base].version == server.engine.base.record.digest
    ready = kserve_pb2.ModelReadyRequest(name=name)
    assert stub.ModelReady(ready).ready
    assert not stub.ModelReady(kserve_pb2.ModelReadyRequest(name="nowhere")).ready
    dependents = {"unload_dependents": kserve_pb2.ModelRepositoryParameter(bool_param=True)}
    stub.RepositoryModelUnload(kserve_pb2.RepositoryModelUnloadRequest(model_name=name, parameters=dependents))
    assert not stub.ModelReady(ready).ready
    only = stub.RepositoryIndex(kserve_pb2.RepositoryIndexRequest(ready=True)).models
    assert name not in {each.name for each in only}
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(asked(name, PROMPT))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    stub.RepositoryModelLoad(kserve_pb2.RepositoryModelLoadRequest(model_name=name))
    assert server.client.get(name).state == "resident"
    assert texts_of(stub.ModelInfer(asked(name, PROMPT)))
    for call, request, code in (
        (stub.RepositoryModelUnload, kserve_pb2.RepositoryModelUnloadRequest(model_name=base), "FAILED_PRECONDITION"),
        (stub.RepositoryModelLoad, kserve_pb2.RepositoryModelLoadRequest(model_name="nowhere"), "NOT_FOUND"),
        (stub.RepositoryIndex, kserve_pb2.RepositoryIndexRequest(repository_name="x"), "INVALID_ARGUMENT"),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call(request)
        assert refused.value.code().name == code


def test_the_server_and_its_models_say_what_they_are(server: Serving, stub: Any, base: str) -> None:
    assert stub.ServerLive(kserve_pb2.ServerLiveRequest()).live
    assert stub.ServerReady(kserve_pb2.ServerReadyRequest()).ready
    assert stub.ServerMetadata(kserve_pb2.ServerMetadataRequest()).name == "adapterhub"
    told = stub.ModelMetadata(kserve_pb2.ModelMetadataRequest(name="orders"))
    assert list(told.versions) == [server.client.get("orders").digest]
    assert "text_input" in {tensor.name for tensor in told.inputs}
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelMetadata(kserve_pb2.ModelMetadataRequest(name=base, version="1"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_all_services_answer_alike_at_once(server: Serving, stub: Any) -> None:
    own = server.client.generate(PROMPT, adapter="orders", max_new_tokens=16).text
    request = fmaas_pb2.BatchedGenerationRequest(
        adapter_id="orders",
        requests=[fmaas_pb2.GenerationRequest(text=PROMPT)],
        params=fmaas_pb2.Parameters(stopping=fmaas_pb2.StoppingCriteria(max_new_tokens=16)),
    )
    with grpc.insecure_channel(server.address) as channel:
        fmaas: Any = fmaas_pb2_grpc.GenerationServiceStub(channel)  # type: ignore[no-untyped-call]
        theirs = [fmaas.Generate.future(request) for _ in range(4)]
        these = [stub.ModelInfer.future(asked("orders", PROMPT)) for _ in range(4)]
        assert {each.result().responses[0].text for each in theirs} == {own}
        assert {texts_of(each.result())[0] for each in these} == {own}


def test_a_key_is_looked_at_for_each_request_of_a_stream(tiny_base: Path, tmp_path: Path) -> None:
    """What it may use, how many at once, and whether it still is."""
    keys = Keys(tmp_path / "keys.json")
    key = keys.create("shop", tenant="shop", scopes=["infer"], adapters=["shop/*"])
    model = BaseModel.load(str(tiny_base), quantization="none")
    with serving(model, tmp_path, access=Access(keys, max_calls=3)) as running:
        running.publish("shop/orders")
        running.publish("bank/secrets")
        running.pace.seconds = 0.01

        async def scenario() -> list[str]:
            async with grpc.aio.insecure_channel(running.address) as channel:
                stub: Any = kserve_pb2_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
                metadata = (("authorization", f"Bearer {key}"),)
                seen = {
                    each.name
                    for each in (
                        await stub.RepositoryIndex(kserve_pb2.RepositoryIndexRequest(), metadata=metadata)
                    ).models
                }
                assert "bank/secrets" not in seen
                stream = stub.ModelStreamInfer(metadata=metadata)
                said = []

                async def ask(model: str, tokens: int) -> None:
                    await stream.write(asked(model, PROMPT, max_tokens=tokens, ignore_eos=True))

                await ask("bank/secrets", 1)
                said.append((await stream.read()).error_message)
                for _ in range(3):
                    await ask("shop/orders", 40)
                said += [(await stream.read()).error_message for _ in range(3)]
                keys.revoke("shop")
                await asyncio.sleep(0)
                await ask("shop/orders", 1)
                said.append((await stream.read()).error_message)
                await stream.done_writing()
                assert await stream.code() is grpc.StatusCode.OK
                return said

        forbidden, full, *answered, revoked = asyncio.run(scenario())
        assert "bank/secrets:latest: not allowed" in forbidden
        assert "3 calls of this client are under way" in full
        assert answered == ["", ""]
        assert "key" in revoked
        running.pace.seconds = 0.0
