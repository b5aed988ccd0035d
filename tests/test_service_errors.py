"""Whatever goes wrong is a status of the table, with details, and the client gets the same error back."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import grpc
import pytest
from adapterhub_server.service import Service
from conftest import save_random_adapter
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from serving import Serving, serving

from adapterhub.adapter import TENSORS_FILE
from adapterhub.base import BaseModel, read_base
from adapterhub.client import Client
from adapterhub.client.public_text import without_folders
from adapterhub.client.statuses import STATUSES, from_status, to_status
from adapterhub.errors import (
    AdapterHubError,
    AdapterNotFoundError,
    AuthError,
    BaseMismatchError,
    CorruptAdapterError,
    EngineStoppedError,
    InvalidInputError,
    NotFoundError,
    QueueFullError,
    RefError,
    UnavailableError,
)
from adapterhub.pb.v1 import inference_pb2
from adapterhub.store import AdapterRef, Store

T = TypeVar("T", BadRequest, ErrorInfo, ResourceInfo, RetryInfo)
SECRET = "a path nobody should see"


class FailingStore(Store):
    """Has a bug that one name meets."""

    def pin(self, ref: AdapterRef | str) -> AdapterRef:
        if str(ref) == "bug:latest":
            raise RuntimeError(SECRET)
        return super().pin(ref)


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    base = BaseModel.load(str(tiny_base), quantization="none")
    folder = tmp_path_factory.mktemp("serving")
    with serving(base, folder, FailingStore(folder / "store")) as running:
        yield running


def asked(**fields: Any) -> inference_pb2.GenerateRequest:
    return inference_pb2.GenerateRequest(**({"text": "hello"} | fields))


def refused(server: Serving, request: inference_pb2.GenerateRequest | bytes, method: str = "Generate") -> Status:
    """The rich status of a call that fails; a stream's and a unary call's are made alike."""
    message = request if isinstance(request, bytes) else request.SerializeToString()
    with pytest.raises(grpc.RpcError) as raised:
        call(server.address, method, message)
    assert isinstance(raised.value, grpc.Call)
    status: Status = rpc_status.from_call(raised.value)
    return status


def call(address: str, method: str, message: bytes) -> None:
    path = f"/adapterhub.v1.Inference/{method}"
    with grpc.insecure_channel(address) as channel:
        if method == "Generate":
            channel.unary_unary(path, bytes, bytes)(message)
        else:
            list(channel.unary_stream(path, bytes, bytes)(message))


def detail(status: Status, kind: type[T]) -> T:
    found = kind()
    assert any(packed.Unpack(found) for packed in status.details)
    return found


BAD = {
    "nothing to continue": ({"text": None}, "prompt", "text, token_ids"),
    "no tokens": ({"text": None, "token_ids": {"ids": []}}, "prompt", "at least one"),
    "token over the vocabulary": ({"text": None, "token_ids": {"ids": [258]}}, "prompt", "0 to 257"),
    "more tokens than fit": ({"text": None, "token_ids": {"ids": [2] * 513}}, "token_ids", "512"),
    "text too long": ({"text": "x" * (1 << 20) + "x"}, "text", "1048576"),
    "over the context": ({"sampling": {"max_new_tokens": 8192}}, "sampling.max_new_tokens", "512"),
    "max_new_tokens 0": ({"sampling": {"max_new_tokens": 0}}, "sampling.max_new_tokens", "1"),
    "max_new_tokens 8193": ({"sampling": {"max_new_tokens": 8193}}, "sampling.max_new_tokens", "8192"),
    "temperature below": ({"sampling": {"temperature": -0.1}}, "sampling.temperature", "0"),
    "temperature above": ({"sampling": {"temperature": 10.5}}, "sampling.temperature", "10"),
    "temperature nan": ({"sampling": {"temperature": float("nan")}}, "sampling.temperature", "finite"),
    "top_k above": ({"sampling": {"top_k": (1 << 20) + 1}}, "sampling.top_k", "1048576"),
    "top_p 0": ({"sampling": {"top_p": 0.0}}, "sampling.top_p", "greater than 0"),
    "top_p above": ({"sampling": {"top_p": 1.5}}, "sampling.top_p", "1"),
    "seed above": ({"sampling": {"seed": 1 << 63}}, "sampling.seed", str(1 << 63)),
    "an empty stop string": ({"sampling": {"stop": ["a", ""]}}, "sampling.stop.1", "at least 1 character"),
    "a long stop string": ({"sampling": {"stop": ["x" * 129]}}, "sampling.stop.0", "at most 128"),
    "too many stop strings": ({"sampling": {"stop": ["x"] * 17}}, "sampling.stop", "at most 16"),
    "min_p above": ({"sampling": {"min_p": 1.5}}, "sampling.min_p", "1"),
    "repetition_penalty 0": (
        {"sampling": {"repetition_penalty": 0.0}},
        "sampling.repetition_penalty",
        "greater than 0",
    ),
    "presence_penalty below": ({"sampling": {"presence_penalty": -2.5}}, "sampling.presence_penalty", "-2"),
    "frequency_penalty above": ({"sampling": {"frequency_penalty": 2.5}}, "sampling.frequency_penalty", "2"),
    "a bias too large": ({"sampling": {"logit_bias": {7: 101.0}}}, "sampling.logit_bias.7", "100"),
    "a bias nan": ({"sampling": {"logit_bias": {7: float("nan")}}}, "sampling.logit_bias.7", "finite"),
    "a bias of no token": ({"sampling": {"logit_bias": {258: 1.0}}}, "sampling.logit_bias", "0 to 257"),
    "too many biases": (
        {"sampling": {"logit_bias": dict.fromkeys(range(1025), 1.0)}},
        "sampling.logit_bias",
        "at most 1024",
    ),
    "min_tokens above": ({"sampling": {"min_tokens": 9, "max_new_tokens": 8}}, "sampling.min_tokens", "0 to 8"),
    "min_tokens above the default": ({"sampling": {"min_tokens": 129}}, "sampling.min_tokens", "0 to 128"),
    "an empty bad word": ({"sampling": {"bad_words": ["a", ""]}}, "sampling.bad_words.1", "at least 1 character"),
    "too many bad words": ({"sampling": {"bad_words": ["x"] * 65}}, "sampling.bad_words", "at most 64"),
    "stop at no token": ({"sampling": {"stop_token_ids": [258]}}, "sampling.stop_token_ids", "0 to 257"),
    "too many stop tokens": ({"sampling": {"stop_token_ids": [5] * 65}}, "sampling.stop_token_ids", "at most 64"),
    "prompt_logprobs above": ({"sampling": {"prompt_logprobs": 21}}, "sampling.prompt_logprobs", "20"),
    "no answers": ({"n": 0}, "n", "1 to 16"),
    "too many of the best": ({"best_of": 17}, "best_of", "16"),
    "logprobs above": ({"sampling": {"logprobs": 21}}, "sampling.logprobs", "20"),
    "format of no kind": ({"prompt_format": {}}, "prompt_format.kind", "KIND_RAW, KIND_CHAT"),
    "raw with a system turn": (
        {"prompt_format": {"kind": "KIND_RAW", "system_prompt": "x"}},
        "prompt_format.system_prompt",
        "KIND_CHAT",
    ),
    "system turn too long": (
        {"prompt_format": {"kind": "KIND_CHAT", "system_prompt": "x" * 65537}},
        "prompt_format.system_prompt",
        "65536",
    ),
    "format beside token ids": (
        {"text": None, "token_ids": {"ids": [2]}, "prompt_format": {"kind": "KIND_RAW"}},
        "prompt_format",
        "token_ids",
    ),
    "a structure of nothing": ({"structure": {}}, "structure", "json_schema, regex, choice, grammar"),
    "no schema": ({"structure": {"json_schema": "{"}}, "structure.json_schema", "not JSON"),
    "a regex too long": ({"structure": {"regex": "x" * 16385}}, "structure.regex", "16384"),
    "no choice": ({"structure": {"choice": {}}}, "structure.choice", "1 to 1024"),
    "no grammar": ({"structure": {"grammar": "start: b"}}, "structure.grammar", "unknown name"),
    "a structure without an end": (
        {"structure": {"regex": "a"}, "sampling": {"ignore_eos": True}},
        "sampling.ignore_eos",
        "beside a structure",
    ),
    "no turns": ({"text": None, "chat": {"turns": []}}, "chat.turns", "1 to 1024"),
    "a turn of nobody": (
        {"text": None, "chat": {"turns": [{"content": "x"}]}},
        "chat.turns.0.role",
        "ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT",
    ),
    "a system turn in between": (
        {"text": None, "chat": {"turns": [{"role": "ROLE_USER"}, {"role": "ROLE_SYSTEM"}]}},
        "chat.turns.1.role",
        "ROLE_USER, ROLE_ASSISTANT",
    ),
    "the last turn not the user's": (
        {"text": None, "chat": {"turns": [{"role": "ROLE_USER"}, {"role": "ROLE_ASSISTANT"}]}},
        "chat.turns.1.role",
        "ROLE_USER",
    ),
    "too much chat": (
        {"text": None, "chat": {"turns": [{"role": "ROLE_USER", "content": "x" * (1 << 19)}] * 3}},
        "chat",
        "1048576",
    ),
    "a raw chat": (
        {"text": None, "chat": {"turns": [{"role": "ROLE_USER"}]}, "prompt_format": {"kind": "KIND_RAW"}},
        "chat",
        "raw",
    ),
    "a task beside an adapter": ({"adapter": "a", "task": "b"}, "task", "adapter"),
    "not a reference": ({"adapter": "../etc"}, "adapter", "accepted"),
}


@pytest.mark.parametrize("method", ["Generate", "GenerateStream"])
@pytest.mark.parametrize(("fields", "field", "limit"), BAD.values(), ids=BAD.keys())
def test_a_bad_parameter_is_named_with_its_limits(
    server: Serving, method: str, fields: dict[str, Any], field: str, limit: str
) -> None:
    status = refused(server, asked(**fields), method)
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert limit in status.message
    assert [violation.field for violation in detail(status, BadRequest).field_violations] == [field]


@pytest.mark.parametrize("method", ["Generate", "GenerateStream"])
def test_an_unknown_adapter_is_not_found(server: Serving, method: str) -> None:
    status = refused(server, asked(adapter="nobody"), method)
    assert status.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert detail(status, ErrorInfo).reason == "ADAPTER_NOT_FOUND"
    assert detail(status, ResourceInfo).resource_name == "nobody:latest"


@pytest.mark.parametrize("method", ["Generate", "GenerateStream"])
@pytest.mark.parametrize("message", [b"\xff\xff\xff", b"\x12\x05ab", b"\x0a\x02\xff\xfe"])
def test_a_malformed_message_is_an_invalid_argument(server: Serving, method: str, message: bytes) -> None:
    status = refused(server, message, method)
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert status.message == "the request is not a message of this method"


@pytest.mark.parametrize("method", ["Generate", "GenerateStream"])
def test_a_bug_is_internal_and_its_text_stays_in_the_log(
    server: Serving, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    status = refused(server, asked(adapter="bug"), method)
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert SECRET not in str(status)
    request_id = detail(status, ErrorInfo).metadata["request_id"]
    assert request_id in status.message
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert request_id in record.getMessage()
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == SECRET


def test_an_adapter_of_another_base_is_refused_with_the_first_key_that_differs(
    server: Serving, other_base: Path, tmp_path: Path
) -> None:
    _, shape = read_base(str(other_base))
    server.store.publish(save_random_adapter(tmp_path, "lora", shape), "misfit")
    with pytest.raises(BaseMismatchError, match=r"base_model\.model\.\S+lora_A\.weight"):
        server.client.generate("hello", adapter="misfit")


def test_an_adapter_damaged_in_the_store_is_refused(server: Serving) -> None:
    ref = server.publish("damaged")
    path = server.store.resolve(ref).files[TENSORS_FILE]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CorruptAdapterError):
        server.client.generate("hello", adapter="damaged")


def test_errors_of_the_management_calls_are_statuses_too(server: Serving) -> None:
    with pytest.raises(AdapterNotFoundError, match="nobody"):
        server.client.load("nobody")
    with pytest.raises(AdapterNotFoundError, match="not loaded"):
        server.client.unload("nobody")
    with pytest.raises(RefError, match="accepted"):
        server.client.load("")


def test_what_cannot_be_sent_is_refused_by_the_client(server: Serving) -> None:
    for sampling in (
        {"max_new_tokens": -1},
        {"seed": 1 << 64},
        {"temperature": "hot"},
        {"stop": "one"},
        {"no_such": 1},
    ):
        with pytest.raises(InvalidInputError) as raised:
            server.client.generate("hello", **sampling)
        assert raised.value.field == f"sampling.{next(iter(sampling))}"
    with pytest.raises(InvalidInputError, match="token_ids"):
        server.client.generate([-1])


def test_no_server_says_how_to_start_one() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(UnavailableError, match="adapterhub serve"):
        client.generate("hello")


def test_a_stopped_engine_makes_the_service_unavailable(tiny_base: Path, tmp_path: Path) -> None:
    with serving(BaseModel.load(str(tiny_base), quantization="none"), tmp_path) as server:
        server.engine.close()
        with pytest.raises(EngineStoppedError):
            server.client.generate("hello")


def test_health_turns_when_the_engine_has_stopped(tiny_base: Path, tmp_path: Path) -> None:
    with serving(BaseModel.load(str(tiny_base), quantization="none"), tmp_path) as server:
        server.engine.close()
        with grpc.insecure_channel(server.address) as channel:
            watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
            assert health_pb2.HealthCheckResponse.NOT_SERVING in (answer.status for answer in watched)


def test_beyond_what_may_be_under_way_a_call_is_shed_at_once_and_told_when_to_come_back(
    tiny_base: Path, tmp_path: Path
) -> None:
    base = BaseModel.load(str(tiny_base), quantization="none")
    with serving(base, tmp_path, max_requests=2) as server, ThreadPoolExecutor(2) as pool:
        server.pace.seconds = 0.01
        running = [pool.submit(server.client.generate, "hello", max_new_tokens=60, ignore_eos=True) for _ in range(2)]
        server.wait_until(lambda: server.engine.stats().running == 2)
        status = refused(server, asked())
        assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert detail(status, RetryInfo).retry_delay.ToNanoseconds() > 0
        assert all(len(answer.result().token_ids) == 60 for answer in running)


def test_a_port_in_use_is_unavailable(server: Serving) -> None:
    port = int(server.address.rpartition(":")[2])

    async def bind_again() -> None:
        with pytest.raises(UnavailableError, match=f"port {port} in use"):
            Service("127.0.0.1", port)

    server.loop.run(bind_again())


def test_a_long_error_is_cut_so_that_it_arrives(server: Serving) -> None:
    name = "a" * 96 + "/" + "b" * 96
    with pytest.raises(RefError) as raised:
        server.client.generate("hello", adapter="\u6771" * 600 + name)
    assert len(str(raised.value).encode()) <= 1024 + len(" ...")
    assert len(to_status(AdapterNotFoundError("\u6771" * 5000), request_id="1").message.encode()) <= 1028


def test_no_error_tells_where_the_servers_files_lie_or_what_else_it_has(server: Serving) -> None:
    ref = server.publish("holes")
    path = server.store.resolve(ref).files[TENSORS_FILE]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-8])
    server.client.load("holes")
    with closing(server.client.watch("holes", timeout=30)) as states:
        reason = next(known.reason for known in states if known.state == "failed")
    told = [reason]
    for name in ("holes", "hole", "holes:v9", f"hole@{ref.digest}"):
        with pytest.raises(AdapterHubError) as raised:
            server.client.generate("hello", adapter=name)
        told.append(str(raised.value))
    assert path.name in reason
    assert not any("/" in text.replace("blobs/", "") or "did you mean" in text or "known" in text for text in told), (
        told
    )


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("no adapter 'a' in /home/me/store", "no adapter 'a' in store"),
        ("/var/x/blobs/sha256/00ff: missing", "00ff: missing"),
        ("adapter team/a:v1 does not fit", "adapter team/a:v1 does not fit"),
        ("hf:org/name at http://127.0.0.1:80/api/models: 404", "hf:org/name at http://127.0.0.1:80/api/models: 404"),
    ],
)
def test_folders_are_cut_and_names_are_not(text: str, public: str) -> None:
    assert without_folders(text) == public


@pytest.mark.parametrize("row", STATUSES, ids=[row.reason for row in STATUSES])
def test_every_error_of_the_table_comes_back_as_itself(row: Any) -> None:
    error = row.error("why", retry_after=2.5) if row.error is QueueFullError else row.error("why")
    status = to_status(error, request_id="1")
    assert status.code == row.code.value[0]
    back = from_status(status)
    assert (type(back), str(back)) == (row.error, "why")
    assert getattr(back, "retry_after", 2.5) == 2.5


@pytest.mark.parametrize("letter", ["a", "é", "東"])
def test_the_longest_error_fits_the_metadata_that_every_client_takes(letter: str) -> None:
    text = letter * 100_000
    for error in (InvalidInputError(text, field="prompt_format.system_prompt"), NotFoundError(text, resource=text)):
        rich = rpc_status.to_status(to_status(error, request_id="x" * 128))
        details = sum(len(base64.b64encode(value)) for _, value in rich.trailing_metadata)
        assert details + len(quote(rich.details)) < 8000
        assert rich.details.startswith(letter * 300)


def test_a_class_stands_before_its_parents_in_the_table() -> None:
    for earlier, row in enumerate(STATUSES):
        assert not any(issubclass(later.error, row.error) for later in STATUSES[earlier + 1 :])


def test_a_status_of_somebody_else_is_a_plain_error() -> None:
    assert type(from_status(Status(code=2, message="?"))) is AdapterHubError


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
def test_whoever_refuses_a_caller_makes_an_auth_error(code: grpc.StatusCode) -> None:
    assert type(from_status(Status(code=code.value[0], message="no"))) is AuthError
