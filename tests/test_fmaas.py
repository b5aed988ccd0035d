"""IBM's text generation service: its messages over our engine, by a real server and its own stub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from adapterhub_server.call import Call
from adapterhub_server.fmaas.parameters import ANY_JSON, MAX_NEW_TOKENS, asked
from google.protobuf.json_format import ParseDict
from serving import Serving, serving

from adapterhub.base import BaseModel
from adapterhub.engine import Sampling
from adapterhub.errors import InvalidInputError
from adapterhub.pb.compatible import fmaas_pb2, fmaas_pb2_grpc
from adapterhub.pb.v1 import inference_pb2

PROMPT = "naïve café, 東京"


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    """Those that ended, in the order they did."""
    return []


@pytest.fixture(scope="module")
def server(tiny_base: Path, calls: list[Call], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    base = BaseModel.load(str(tiny_base), quantization="none")
    with serving(base, tmp_path_factory.mktemp("serving"), observers=[calls.append]) as running:
        running.publish("orders")
        running.publish("watched", "bottleneck")
        yield running
        running.wait_idle()


@pytest.fixture(scope="module")
def stub(server: Serving) -> Iterator[Any]:
    with grpc.insecure_channel(server.address) as channel:
        yield fmaas_pb2_grpc.GenerationServiceStub(channel)  # type: ignore[no-untyped-call]


def params(**values: Any) -> fmaas_pb2.Parameters:
    """Sixteen greedy tokens, unless it says otherwise; nested as JSON."""
    return ParseDict({"stopping": {"max_new_tokens": 16}} | values, fmaas_pb2.Parameters())


def one(stub: Any, text: str = PROMPT, adapter: str | None = None, **values: Any) -> fmaas_pb2.GenerationResponse:
    request = fmaas_pb2.BatchedGenerationRequest(
        adapter_id=adapter, requests=[fmaas_pb2.GenerationRequest(text=text)], params=params(**values)
    )
    (answer,) = stub.Generate(request).responses
    assert isinstance(answer, fmaas_pb2.GenerationResponse)
    return answer


def pieces(stub: Any, adapter: str | None = None, **values: Any) -> list[fmaas_pb2.GenerationResponse]:
    request = fmaas_pb2.SingleGenerationRequest(
        adapter_id=adapter, request=fmaas_pb2.GenerationRequest(text=PROMPT), params=params(**values)
    )
    return list(stub.GenerateStream(request))


@pytest.mark.parametrize("adapter", ["", "orders", "watched"])
def test_a_batch_answers_as_our_own_service_does(server: Serving, stub: Any, adapter: str, calls: list[Call]) -> None:
    texts = [PROMPT, "hello", "hello again"]
    request = fmaas_pb2.BatchedGenerationRequest(
        adapter_id=adapter, requests=[fmaas_pb2.GenerationRequest(text=text) for text in texts], params=params()
    )
    before = len(calls)
    answers = stub.Generate(request).responses
    told = [(call.rpc, call.generated_tokens) for call in calls[before:]]
    own = [server.client.generate(text, adapter=adapter, max_new_tokens=16) for text in texts]
    assert [answer.text for answer in answers] == [each.text for each in own]
    assert [answer.input_token_count for answer in answers] == [each.usage.prompt_tokens for each in own]
    assert [answer.generated_token_count for answer in answers] == [len(each.token_ids) for each in own]
    assert sorted(told[:-1]) == sorted(("GenerationService/Generate/request", len(each.token_ids)) for each in own)
    assert told[-1] == ("GenerationService/Generate", 0)


def test_a_stream_tells_of_the_prompt_first_and_joins_to_the_whole(server: Serving, stub: Any) -> None:
    whole, (first, *rest) = one(stub, adapter="orders"), pieces(stub, "orders")
    assert (first.input_token_count, first.text, first.generated_token_count) == (whole.input_token_count, "", 0)
    assert "".join(piece.text for piece in rest) == whole.text
    assert rest[-1].generated_token_count == whole.generated_token_count
    assert [piece.stop_reason for piece in rest] == [fmaas_pb2.NOT_FINISHED] * (len(rest) - 1) + [whole.stop_reason]
    assert not any(piece.input_token_count for piece in rest)


def test_a_stop_sequence_is_told_and_in_the_text_unless_asked_otherwise(server: Serving, stub: Any) -> None:
    plain = server.client.generate(PROMPT, max_new_tokens=60, ignore_eos=True).text
    stop = plain[10:13]
    stopping = {"max_new_tokens": 60, "stop_sequences": ["not there", stop]}
    before = plain[: plain.index(stop)]
    answer = one(stub, stopping=stopping)
    assert (answer.text, answer.stop_reason, answer.stop_sequence) == (before + stop, fmaas_pb2.STOP_SEQUENCE, stop)
    assert "".join(piece.text for piece in pieces(stub, stopping=stopping)) == before + stop
    assert one(stub, stopping=stopping | {"include_stop_sequence": False}).text == before


def test_the_end_of_sequence_is_told(server: Serving, stub: Any) -> None:
    eos = server.engine.base.tokenizer.eos_token
    for seed in range(13, 200):  # the base is random: most seeds do not come to it
        sampling = {"temperature": 2, "seed": seed}
        stopping = {"max_new_tokens": 64, "stop_sequences": ["not there"]}
        answer = one(stub, method="SAMPLE", sampling=sampling, stopping=stopping)
        if answer.stop_reason != fmaas_pb2.MAX_TOKENS:
            assert (answer.stop_reason, answer.stop_sequence) == (fmaas_pb2.EOS_TOKEN, eos)
            return
    pytest.fail("no answer ended by itself")


def test_sampling_is_ours_and_a_drawn_seed_is_told(server: Serving, stub: Any) -> None:
    given = {"temperature": 1.5, "top_k": 40, "top_p": 0.9}
    answer = one(stub, method="SAMPLE", sampling=given | {"seed": 0})
    own = server.client.generate(PROMPT, max_new_tokens=16, temperature=1.5, top_k=40, top_p=0.9, seed=0)
    assert answer.text == own.text
    first, second = (one(stub, method="SAMPLE", sampling=given) for _ in range(2))
    assert first.seed
    assert first.seed != second.seed
    again = one(stub, method="SAMPLE", sampling=given | {"seed": first.seed})
    assert (again.text, again.seed) == (first.text, first.seed)
    assert one(stub, sampling=given).text == one(stub).text  # not looked at where nothing is drawn


def test_an_answer_ends_when_its_time_is_over(server: Serving, stub: Any, calls: list[Call]) -> None:
    stopping = {"max_new_tokens": 300, "time_limit_millis": 300}
    with server.cut_short():
        answer = one(stub, stopping=stopping)
        *_, last = pieces(stub, stopping=stopping)
    server.pace.seconds = 0.0
    assert (answer.stop_reason, last.stop_reason) == (fmaas_pb2.TIME_LIMIT, fmaas_pb2.TIME_LIMIT)
    assert (answer.input_token_count > 0, calls[-1].outcome, calls[-1].status) == (True, "time_limit", "OK")
    assert one(stub, stopping={"max_new_tokens": 16, "time_limit_millis": 60_000}).text == one(stub).text


def test_an_answer_ends_where_the_context_is_full(server: Serving, stub: Any) -> None:
    answer = one(stub, "hello " * 78, stopping={"max_new_tokens": MAX_NEW_TOKENS})
    room = server.engine.limits.max_length - answer.input_token_count
    assert 0 < room < 100
    assert (answer.stop_reason, answer.generated_token_count) == (fmaas_pb2.TOKEN_LIMIT, room)
    told = stub.ModelInfo(fmaas_pb2.ModelInfoRequest())
    assert (told.max_sequence_length, told.max_new_tokens) == (server.engine.limits.max_length,) * 2
    assert told.model_kind == fmaas_pb2.ModelInfoResponse.DECODER_ONLY


def test_a_long_prompt_is_cut_to_its_last_tokens(server: Serving, stub: Any) -> None:
    request = fmaas_pb2.BatchedTokenizeRequest(
        adapter_id="orders",
        requests=[fmaas_pb2.TokenizeRequest(text=text) for text in (PROMPT, "hello")],
        return_tokens=True,
    )
    tokenizer = server.engine.base.tokenizer
    whole = list(server.client.tokenize(PROMPT, adapter="orders"))
    spelled = tokenizer.convert_ids_to_tokens(whole)
    first, second = stub.Tokenize(request).responses
    assert (first.token_count, list(first.tokens)) == (len(whole), spelled)
    assert second.token_count == len(second.tokens) < first.token_count
    request.truncate_input_tokens = 7
    head = whole[:1] if whole[0] == tokenizer.bos_token_id else []
    cut = head + whole[len(whole) - 7 + len(head) :]
    assert list(stub.Tokenize(request).responses[0].tokens) == tokenizer.convert_ids_to_tokens(cut)
    answer = one(stub, adapter="orders", truncate_input_tokens=7)
    assert answer.input_token_count == 7
    assert answer.text == server.client.generate(cut, adapter="orders", max_new_tokens=16).text


def test_tokens_are_told_with_their_likelihoods(server: Serving, stub: Any) -> None:
    own = server.client.generate(PROMPT, max_new_tokens=16, logprobs=3)
    tokenizer = server.engine.base.tokenizer
    options = {"generated_tokens": True, "token_logprobs": True, "top_n_tokens": 3, "input_text": True}
    answer = one(stub, response=options)
    assert answer.text == PROMPT + own.text
    assert [token.text for token in answer.tokens] == tokenizer.convert_ids_to_tokens(list(own.token_ids))
    assert [token.logprob for token in answer.tokens] == pytest.approx([each.logprob for each in own.logprobs])
    tops = [(top.text, top.logprob) for token in answer.tokens for top in token.top_tokens]
    own_tops = [(tokenizer.convert_ids_to_tokens(token), value) for each in own.logprobs for token, value in each.top]
    assert [name for name, _ in tops] == [name for name, _ in own_tops]
    assert [value for _, value in tops] == pytest.approx([value for _, value in own_tops])
    streamed = [token for piece in pieces(stub, response=options) for token in piece.tokens]
    assert streamed == list(answer.tokens)
    told = one(stub, response={"input_tokens": True}).input_tokens
    assert [token.text for token in told] == tokenizer.convert_ids_to_tokens(list(server.client.tokenize(PROMPT)))


def test_the_caller_may_say_that_the_text_is_raw(server: Serving, stub: Any) -> None:
    request = fmaas_pb2.SingleGenerationRequest(request=fmaas_pb2.GenerationRequest(text=PROMPT), params=params())
    raw = list(stub.GenerateStream(request, metadata=(("adapterhub-prompt-format", "raw"),)))
    own = server.client.generate(PROMPT, kind="raw", max_new_tokens=16)
    assert "".join(piece.text for piece in raw) == own.text
    with pytest.raises(grpc.RpcError, match="adapterhub-prompt-format: 'poem'"):
        list(stub.GenerateStream(request, metadata=(("adapterhub-prompt-format", "poem"),)))


@pytest.mark.parametrize(
    ("decoding", "structure"),
    [
        ({"format": "TEXT"}, None),
        ({"format": "JSON"}, {"json_schema": ANY_JSON}),
        ({"json_schema": "{}"}, {"json_schema": "{}"}),
        ({"regex": "a+"}, {"regex": "a+"}),
        ({"choice": {"choices": ["a", "b"]}}, {"choice": {"texts": ["a", "b"]}}),
        ({"grammar": "start: 'a'"}, {"grammar": "start: 'a'"}),
    ],
)
def test_guided_decoding_is_our_structure(decoding: dict[str, Any], structure: dict[str, Any] | None) -> None:
    wanted = inference_pb2.GenerateRequest()
    made = asked(params(decoding=decoding)).generate(inference_pb2.GenerateRequest(), room=100)
    if structure is not None:
        ParseDict(structure, wanted.structure)
    assert made.structure == wanted.structure
    assert made.HasField("structure") == (structure is not None)


def test_parameters_are_ours_by_other_names() -> None:
    made = asked(
        params(
            stopping={"max_new_tokens": 9, "min_new_tokens": 3},
            decoding={"repetition_penalty": 1.2},
            response={"input_tokens": True, "token_logprobs": True, "top_n_tokens": 2},
        )
    ).generate(inference_pb2.GenerateRequest(), room=5)
    assert made.sampling == inference_pb2.Sampling(
        max_new_tokens=5, min_tokens=3, repetition_penalty=1.2, prompt_logprobs=2
    )
    assert asked(fmaas_pb2.Parameters()).sampling.max_new_tokens == 20
    with pytest.raises(InvalidInputError):
        Sampling.load({"max_new_tokens": MAX_NEW_TOKENS + 1}, where="test")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"method": 7}, "params.method"),
        ({"method": "SAMPLE", "sampling": {"typical_p": 0.5}}, "params.sampling.typical_p"),
        ({"method": "SAMPLE", "sampling": {"temperature": 11}}, "params.sampling.temperature"),
        ({"decoding": {"length_penalty": {"decay_factor": 1.5}}}, "params.decoding.length_penalty"),
        ({"response": {"token_ranks": True, "generated_tokens": True}}, "params.response.token_ranks"),
        ({"response": {"token_logprobs": True}}, "params.response.token_logprobs"),
        ({"response": {"top_n_tokens": 21, "input_tokens": True}}, "params.response.top_n_tokens"),
        ({"stopping": {"max_new_tokens": MAX_NEW_TOKENS + 1}}, "params.stopping.max_new_tokens"),
        ({"stopping": {"stop_sequences": [""]}}, "params.stopping.stop_sequences.0"),
    ],
)
def test_what_is_not_served_is_refused_by_its_name(
    server: Serving, stub: Any, calls: list[Call], values: dict[str, Any], field: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        one(stub, **values)
    error: Any = refused.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    detail = dict(error.trailing_metadata())["grpc-status-details-bin"]
    assert field.encode() in detail


def test_other_errors_are_those_of_our_own_service(server: Serving, stub: Any) -> None:
    request = fmaas_pb2.BatchedGenerationRequest(requests=[fmaas_pb2.GenerationRequest(text=PROMPT)])
    for asked_for, code in (
        (fmaas_pb2.BatchedGenerationRequest(adapter_id="nowhere"), grpc.StatusCode.NOT_FOUND),
        (fmaas_pb2.BatchedGenerationRequest(adapter_id="No Name"), grpc.StatusCode.INVALID_ARGUMENT),
        (fmaas_pb2.BatchedGenerationRequest(prefix_id="old"), grpc.StatusCode.INVALID_ARGUMENT),
    ):
        asked_for.MergeFrom(request)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Generate(asked_for)
        assert refused.value.code() is code
    for count in (0, 65):
        with pytest.raises(grpc.RpcError, match="accepted: 1 to 64"):
            stub.Generate(fmaas_pb2.BatchedGenerationRequest(requests=[fmaas_pb2.GenerationRequest(text="a")] * count))
    with pytest.raises(grpc.RpcError, match="return_offsets"):
        stub.Tokenize(fmaas_pb2.BatchedTokenizeRequest(requests=[{"text": "a"}], return_offsets=True))


def test_a_prompt_that_is_too_long_ends_its_whole_batch(server: Serving, stub: Any) -> None:
    texts = ["hello", "word " * 600]
    request = fmaas_pb2.BatchedGenerationRequest(
        requests=[fmaas_pb2.GenerationRequest(text=text) for text in texts],
        params=params(stopping={"max_new_tokens": 300}),
    )
    with server.cut_short(), pytest.raises(grpc.RpcError) as refused:
        stub.Generate(request)
    server.pace.seconds = 0.0
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
