"""The gRPC service does what it says: real server, real client, tiny base."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from adapterhub_server.service import NAMES
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from serving import LONG, Serving, serving

from adapterhub.adapter import Adapter
from adapterhub.base import BaseModel
from adapterhub.client import Client, Generation, SamplingOptions, ServedAdapter, Timings, Turn
from adapterhub.errors import AdapterNotFoundError, BaseMismatchError, ConflictError, UnavailableError
from adapterhub.imports import import_adapter
from adapterhub.pb.v1 import inference_pb2, inference_pb2_grpc
from adapterhub.prompt_format import PromptFormat
from adapterhub.store import AdapterRef, Store

PROMPT = "naïve café, 東京"


class CountingStore(Store):
    """Remembers which adapters were read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read: list[str] = []

    def resolve(self, ref: AdapterRef | str) -> Adapter:
        self.read.append(str(ref))
        return super().resolve(ref)


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    base = BaseModel.load(str(tiny_base), quantization="none")
    folder = tmp_path_factory.mktemp("serving")
    with serving(base, folder, CountingStore(folder / "store")) as running:
        yield running


@pytest.fixture(autouse=True)
def _ends_idle(server: Serving) -> Iterator[None]:
    """Whatever a test did, nothing stays behind in the engine."""
    yield
    server.pace.seconds = 0.0
    server.wait_idle()


def answered(generation: Generation) -> Generation:
    """All but the times, which no two answers share."""
    return generation._replace(timings=Timings(0, 0, 0))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("method", ["", "lora", "bottleneck", "prompt_tuning"])
def test_unary_and_stream_agree(server: Serving, method: str, temperature: float) -> None:
    adapter = str(server.publish(f"agree-{method}", method)) if method else ""
    whole = server.client.generate(PROMPT, adapter=adapter, temperature=temperature, seed=7, max_new_tokens=24)
    pieces = list(
        server.client.generate_stream(PROMPT, adapter=adapter, temperature=temperature, seed=7, max_new_tokens=24)
    )
    assert "".join(piece.text for piece in pieces) == whole.text
    assert tuple(token for piece in pieces for token in piece.token_ids) == whole.token_ids
    assert (pieces[-1].finish_reason, pieces[-1].usage) == (whole.finish_reason, whole.usage)
    assert whole.usage.generated_tokens == len(whole.token_ids)


def test_stop_strings_and_logprobs_are_the_same_in_a_stream_and_unary(server: Serving) -> None:
    options = SamplingOptions(max_new_tokens=60, ignore_eos=True, logprobs=2)
    plain = server.client.generate(PROMPT, **options)
    stop = plain.text[20:23]
    options["stop"] = ["not there", stop]
    whole = server.client.generate(PROMPT, **options)
    pieces = list(server.client.generate_stream(PROMPT, **options))
    assert (whole.text, whole.finish_reason) == (plain.text[: plain.text.index(stop)], "stop")
    assert "".join(piece.text for piece in pieces) == whole.text
    assert tuple(each for piece in pieces for each in piece.logprobs) == whole.logprobs
    assert whole.logprobs == plain.logprobs[: len(whole.token_ids)]
    assert all(each.logprob == pytest.approx(each.top[0][1]) and len(each.top) == 2 for each in whole.logprobs)


def test_the_first_piece_names_the_adapter_and_the_last_the_end(server: Serving) -> None:
    server.pace.seconds = 0.005
    ref = server.publish("named")
    pieces = list(server.client.generate_stream(PROMPT, adapter="named", max_new_tokens=8, ignore_eos=True))
    assert (pieces[0].adapter, pieces[0].adapter_digest) == ("named", ref.digest)
    assert len(pieces) > 1
    assert all(piece.adapter_digest == "" for piece in pieces[1:])
    assert [piece.finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]


def test_the_bare_base_chats_where_it_has_a_template_unless_the_request_says_raw(server: Serving) -> None:
    tokenizer = server.engine.base.tokenizer
    for kind in ("chat", "raw"):
        ids = PromptFormat.of(tokenizer, kind).encode_prompt(tokenizer, PROMPT)
        by_ids = server.client.generate(ids, max_new_tokens=8)
        assert answered(server.client.generate(PROMPT, kind=kind, max_new_tokens=8)) == answered(by_ids)
    chat = server.client.generate(PROMPT, kind="chat", max_new_tokens=8)
    assert answered(server.client.generate(PROMPT, max_new_tokens=8)) == answered(chat)


def test_an_adapter_is_prompted_as_it_was_trained(server: Serving) -> None:
    tokenizer = server.engine.base.tokenizer
    trained = PromptFormat.of(tokenizer, "chat", "Be brief.")
    server.publish("brief", prompt_format=trained)
    by_ids = server.client.generate(trained.encode_prompt(tokenizer, PROMPT), adapter="brief", max_new_tokens=8)
    assert server.client.generate(PROMPT, adapter="brief", max_new_tokens=8).token_ids == by_ids.token_ids
    other = server.client.generate(PROMPT, adapter="brief", kind="raw", max_new_tokens=8)
    assert other.usage.prompt_tokens < by_ids.usage.prompt_tokens


def test_a_format_of_another_template_is_refused_unless_the_request_brings_its_own(server: Serving) -> None:
    trained = PromptFormat.of(server.engine.base.tokenizer, "chat").model_copy(
        update={"template_sha256": hashlib.sha256(b"another").hexdigest()}
    )
    server.publish("foreign", prompt_format=trained)
    with pytest.raises(BaseMismatchError, match="chat template"):
        server.client.generate(PROMPT, adapter="foreign", max_new_tokens=1)
    assert server.client.generate(PROMPT, adapter="foreign", kind="raw", max_new_tokens=1).token_ids


def test_an_adapter_whose_format_is_not_known_is_prompted_as_the_base(server: Serving, tmp_path: Path) -> None:
    import_adapter(Path(__file__).parent / "adapters_library" / "seq_bn", tmp_path)
    server.store.publish(tmp_path, "converted")
    chat = server.client.generate(PROMPT, adapter="converted", kind="chat", max_new_tokens=8)
    assert server.client.generate(PROMPT, adapter="converted", max_new_tokens=8).usage == chat.usage
    assert server.client.generate(PROMPT, max_new_tokens=8).token_ids != chat.token_ids


def test_many_at_once_answer_as_each_alone_and_share_steps(server: Serving) -> None:
    adapters = [
        "",
        *(str(server.publish(f"mix-{method}", method)) for method in ("lora", "bottleneck", "prompt_tuning")),
    ]
    asked = [(f"{PROMPT} {number}", adapters[number % len(adapters)]) for number in range(16)]

    def answer(question: tuple[str, str]) -> tuple[int, ...]:
        return server.client.generate(question[0], adapter=question[1], max_new_tokens=16, ignore_eos=True).token_ids

    alone = [answer(question) for question in asked]
    before = server.client.info().stats
    server.pace.seconds = 0.001
    with ThreadPoolExecutor(len(asked)) as pool:
        assert list(pool.map(answer, asked)) == alone
    after = server.client.info().stats
    assert after.mixed_adapter_steps > before.mixed_adapter_steps
    assert after.mixed_method_steps > before.mixed_method_steps
    assert after.generated_tokens - before.generated_tokens == 16 * len(asked)


def test_concurrent_first_requests_share_one_load(server: Serving) -> None:
    ref = server.publish("shared")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: server.client.generate(PROMPT, adapter="shared", max_new_tokens=1), range(8)))
    assert isinstance(server.store, CountingStore)
    assert server.store.read.count(str(ref)) == 1


def test_an_adapter_published_while_others_run_is_served_at_once(server: Serving) -> None:
    server.pace.seconds = 0.005
    running = server.client.generate_stream(PROMPT, max_new_tokens=LONG, ignore_eos=True)
    next(running)
    ref = server.publish("arrived", "bottleneck")
    answer = server.client.generate(PROMPT, adapter="arrived", max_new_tokens=4)
    assert answer.adapter_digest == ref.digest
    assert next(running).finish_reason is None
    running.close()


def test_publishing_again_under_a_name_leaves_a_running_stream_alone(server: Serving) -> None:
    old = server.publish("moving")
    alone = server.client.generate(PROMPT, adapter=str(old), max_new_tokens=120, ignore_eos=True)
    server.pace.seconds = 0.005
    running = server.client.generate_stream(PROMPT, adapter="moving", max_new_tokens=120, ignore_eos=True)
    pieces = [next(running)]
    new = server.publish("moving")
    answer = server.client.generate(PROMPT, adapter="moving", max_new_tokens=8, ignore_eos=True)
    pieces += running
    assert tuple(token for piece in pieces for token in piece.token_ids) == alone.token_ids
    assert answer.adapter_digest == new.digest
    assert answer.token_ids != alone.token_ids[:8]


def wait_for(server: Serving, adapter: str, state: str) -> ServedAdapter:
    with closing(server.client.watch(adapter, timeout=30)) as states:
        return next(known for known in states if known.state == state)


def test_list_load_and_unload(server: Serving) -> None:
    digest = server.publish("listed", "bottleneck").digest
    assert digest not in {known.digest for known in server.client.list()}
    assert server.client.load("listed").digest == digest
    loaded = wait_for(server, "listed", "resident")
    assert (loaded.digest, loaded.refs, loaded.method) == (digest, ("listed:latest",), "bottleneck")
    assert loaded.nbytes > 0
    assert loaded._replace(running=0) in [known._replace(running=0) for known in server.client.list()]
    assert server.client.unload("listed") == digest
    assert server.client.get("listed").state == "unloaded"
    with pytest.raises(AdapterNotFoundError, match="listed:latest is not loaded"):
        server.client.unload("listed")
    with pytest.raises(ConflictError, match="was unloaded"):
        server.client.generate(PROMPT, adapter="listed", max_new_tokens=1)


def test_pin_and_unpin(server: Serving) -> None:
    server.publish("kept")
    server.client.pin("kept")
    assert wait_for(server, "kept", "resident").pinned
    assert not server.client.unpin("kept").pinned
    with pytest.raises(AdapterNotFoundError, match="nobody"):
        server.client.unpin("nobody")


def test_a_name_that_moved_lets_go_of_the_digest_before(server: Serving) -> None:
    old = server.publish("moved")
    server.client.load("moved")
    wait_for(server, "moved", "resident")
    new = server.publish("moved")
    server.client.load("moved")
    wait_for(server, "moved", "resident")
    refs = {known.digest: known.refs for known in server.client.list()}
    assert refs[new.digest] == ("moved:latest",)
    assert refs[old.digest] == ()
    assert server.client.unload(str(old)) == old.digest


def test_a_chat_is_tokenized_by_the_bases_template_and_a_system_turn_stands(server: Serving) -> None:
    tokenizer = server.engine.base.tokenizer
    server.publish("chatty", prompt_format=PromptFormat.of(tokenizer, "chat", "Be brief."))
    turns = [Turn("user", "hello"), Turn("assistant", "hi"), Turn("user", PROMPT)]
    for system, given in (("Be brief.", turns), ("Be rude.", [Turn("system", "Be rude."), *turns])):
        said = [{"role": turn.role, "content": turn.content} for turn in (Turn("system", system), *turns)]
        text = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        expected = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        assert server.client.tokenize(given, adapter="chatty") == expected
        by_ids = server.client.generate(expected, adapter="chatty", max_new_tokens=8)
        assert server.client.generate(given, adapter="chatty", max_new_tokens=8).token_ids == by_ids.token_ids


def test_tokenize_gives_the_ids_of_a_generation(server: Serving) -> None:
    ids = server.client.tokenize(PROMPT, kind="raw")
    assert ids == tuple(server.engine.base.tokenizer(PROMPT)["input_ids"])
    assert server.client.generate(PROMPT, kind="raw", max_new_tokens=1).usage.prompt_tokens == len(ids)


def test_tokenize_counts_the_adapters_virtual_tokens(server: Serving) -> None:
    counted = {}
    with grpc.insecure_channel(server.address) as channel:
        stub = inference_pb2_grpc.InferenceStub(channel)  # type: ignore[no-untyped-call]
        for method in ("lora", "prompt_tuning", "prefix_tuning"):
            server.publish(f"virtual-{method}", method)
            request = inference_pb2.TokenizeRequest(text=PROMPT, adapter=f"virtual-{method}")
            counted[method] = stub.Tokenize(request).virtual_tokens
    assert counted == {"lora": 0, "prompt_tuning": 16, "prefix_tuning": 16}


def test_an_answer_tells_which_rule_chose_and_where_the_time_went(server: Serving) -> None:
    server.publish("routed")
    whole = server.client.generate(PROMPT, adapter="routed", max_new_tokens=4)
    assert whole.route == ("adapter", "", "routed")
    assert whole.timings.total >= whole.timings.before_engine + whole.timings.first_token > 0
    pieces = list(server.client.generate_stream(PROMPT, max_new_tokens=4))
    assert pieces[0].route == ("base", "", "")
    assert pieces[-1].timings is not None


def test_unloading_lets_what_runs_finish(server: Serving) -> None:
    server.publish("leaving")
    server.pace.seconds = 0.005
    running = server.client.generate_stream(PROMPT, adapter="leaving", max_new_tokens=60, ignore_eos=True)
    first = next(running)
    server.client.unload("leaving")
    assert server.client.get("leaving").state == "unloaded"
    assert sum(len(piece.token_ids) for piece in [first, *running]) == 60


def test_a_cancelled_stream_frees_its_cache(server: Serving) -> None:
    with server.cut_short():
        running = server.client.generate_stream(PROMPT, max_new_tokens=LONG, ignore_eos=True)
        next(running)
        assert server.engine.stats().kv_tokens_free < server.engine.stats().kv_tokens_total
        running.close()


def test_a_unary_call_out_of_time_frees_its_cache(server: Serving) -> None:
    with server.cut_short(), pytest.raises(UnavailableError, match="in time"):
        server.client.generate(PROMPT, max_new_tokens=LONG, ignore_eos=True, timeout=0.3)


def test_a_client_that_hangs_up_frees_its_cache(server: Serving) -> None:
    with server.cut_short(), Client(server.address) as leaving:
        running = leaving.generate_stream(PROMPT, max_new_tokens=LONG, ignore_eos=True)
        next(running)


def test_a_reader_that_stops_for_a_while_misses_nothing(server: Serving) -> None:
    whole = server.client.generate(PROMPT, max_new_tokens=LONG, ignore_eos=True)
    running = server.client.generate_stream(PROMPT, max_new_tokens=LONG, ignore_eos=True)
    pieces = [next(running)]
    server.wait_idle()
    pieces += running
    assert tuple(token for piece in pieces for token in piece.token_ids) == whole.token_ids
    assert "".join(piece.text for piece in pieces) == whole.text


def test_info_tells_the_base(server: Serving) -> None:
    base, info = server.engine.base, server.client.info()
    assert (info.base_id, info.base_digest) == (base.record.id, base.record.digest)
    assert (info.quantization, info.weight_bytes) == ("none", base.weight_bytes)
    assert info.max_context == server.engine.limits.max_length


def test_health_of_every_service(server: Serving) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", *NAMES):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_every_service_and_describes_its_messages(server: Serving) -> None:
    with grpc.insecure_channel(server.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {*NAMES, "grpc.health.v1.Health"} <= set(database.get_services())
        described = database.FindFileContainingSymbol("adapterhub.v1.GenerateRequest")
        assert "PromptFormat" in {message.name for message in described.message_type}
