"""An evaluation on a tiny base: what is asked, what is scored, what follows, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import save_random_adapter

from adapterhub.adapter import PROVENANCE_FILE, Adapter, Provenance, write_json
from adapterhub.base import BaseModel
from adapterhub.data import read_dataset
from adapterhub.engine import Engine, Request, Sampling
from adapterhub.errors import BaseMismatchError, ConfigError, ConflictError, DataError, InvalidInputError
from adapterhub.evaluate import EvalConfig, Evaluation, complete, evaluate, record
from adapterhub.evaluate.prompting import Prompting, separator
from adapterhub.evaluate.questions import drawn_shots, questions
from adapterhub.evaluation_record import EvaluationRecord
from adapterhub.prompt_format import FormatKind, PromptFormat
from adapterhub.records import Chat, Pair, Text
from adapterhub.store import Store

NEW = 6
ASKED = [f"what is {number}?" for number in range(24)]
Publish = Callable[..., Adapter]


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    return BaseModel.load(str(tiny_base), quantization="none")


@pytest.fixture
def publish(base: BaseModel, tmp_path: Path) -> Publish:
    """`publish(name, method="lora", kind="raw", record={}, **options)`: a random adapter with its record."""

    def make(
        name: str, method: str = "lora", kind: FormatKind = "raw", record: dict[str, Any] | None = None, **options: Any
    ) -> Adapter:
        folder = save_random_adapter(tmp_path / "made" / name, method, base.shape, **options)
        prompts = PromptFormat.of(base.tokenizer, kind)
        values = {"method": method, "base": base.record, "prompt_format": prompts, **(record or {})}
        write_json(folder / PROVENANCE_FILE, Provenance.load(values, where="test").model_dump())
        return Store.default().resolve(Store.default().publish(folder, name))

    return make


def write(path: Path, pairs: Sequence[tuple[str, str]]) -> Path:
    path.write_text("".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in pairs), encoding="utf-8")
    return path


def answers(base: BaseModel, adapter: Adapter | None = None) -> list[str]:
    """What is answered to ASKED, raw."""
    sampling = Sampling(max_new_tokens=NEW, stop=() if adapter else ("\n\n",))
    ids = [tuple(base.tokenizer(prompt)["input_ids"]) for prompt in ASKED]
    with Engine(base) as engine:
        if adapter is not None:
            engine.load_adapter(adapter)
        return [
            done.text
            for done in engine.generate([Request(each, adapter.digest if adapter else "", sampling) for each in ids])
        ]


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    return write(tmp_path / "train.jsonl", [(f"say {number}", f"it is {number}") for number in range(12)])


def run(base: BaseModel, data: Path, adapters: dict[str, Adapter], **values: Any) -> Evaluation:
    return evaluate(EvalConfig(data=data, **({"max_new_tokens": NEW} | values)), adapters, base=base)


def test_an_adapter_that_answers_right_is_a_gain_and_others_are_none(
    base: BaseModel, publish: Publish, tmp_path: Path, examples: Path
) -> None:
    right, other = publish("right", seed=1), publish("other", "bottleneck", seed=2)
    data = write(tmp_path / "test.jsonl", list(zip(ASKED, answers(base, right), strict=True)))
    found = run(base, data, {"other": other, "right": right}, examples=examples, shots=(2, 5))
    assert [row.label for row in found.rows] == ["base, zero-shot", "base, 2-shot", "base, 5-shot", "other", "right"]
    assert [row.kind for row in found.rows] == ["prompt"] * 3 + ["adapter"] * 2
    by_label = {row.label: row for row in found.rows}
    assert by_label["right"].scores == {"exact_match": 1, "token_f1": 1}
    assert by_label["right"].intervals["exact_match"] == (1, 1)
    assert found.best == "right"
    assert found.verdict == "fine-tuning gains 100.0 ± 0.0 points over the best prompt"
    assert found.verdicts["other"] == "neither prompting nor fine-tuning does it: both have 0 % exact_match"
    assert found.difference is not None
    assert (found.difference.adapter, found.difference.points) == ("right", 100)
    assert any("the best of 2 adapters was picked on these examples" in warning for warning in found.warnings)


def test_a_base_that_answers_right_needs_no_adapter(base: BaseModel, publish: Publish, tmp_path: Path) -> None:
    data = write(tmp_path / "test.jsonl", list(zip(ASKED, answers(base), strict=True)))
    found = run(base, data, {"a": publish("a")})
    assert found.rows[0].scores["exact_match"] == 1
    assert found.verdict == "prompting already does it: the best prompt is 100.0 ± 0.0 points ahead"


def test_the_figures_are_those_of_the_answers(base: BaseModel, publish: Publish, tmp_path: Path) -> None:
    """Half of the expectations are the base's answers, half the adapter's."""
    adapter = publish("a", seed=3)
    ours, theirs = answers(base, adapter), answers(base)
    mixed = [(ours if index % 2 else theirs)[index] for index in range(len(ASKED))]
    data = write(tmp_path / "test.jsonl", list(zip(ASKED, mixed, strict=True)))
    found = run(base, data, {"a": adapter})
    assert [row.scores["exact_match"] for row in found.rows] == [0.5, 0.5]
    assert found.verdict.startswith("prompting already does it: no difference is shown, the adapter has +0.0 points")
    assert found.samples[1].expected == mixed[1]
    assert found.samples[1].answers == {"base, zero-shot": theirs[1], "a": ours[1]}


def test_tokens_and_their_cost_stand_beside(base: BaseModel, publish: Publish, tmp_path: Path, examples: Path) -> None:
    data = write(tmp_path / "test.jsonl", [("ab", "x")] * 3 + [("abcd", "x")])
    adapter = publish("a", "prompt_tuning", num_virtual_tokens=5)
    values = {"examples": examples, "shots": (1,), "prompt_price": 2.0, "generated_price": 10.0}
    zero, few, ours = run(base, data, {"a": adapter}, **values).rows
    shot = drawn_shots(read_dataset(examples), (), 1, 0)[0]
    assert isinstance(shot, Pair)
    more = len(f"{shot.prompt}{shot.completion}\n\n")  # a byte is a token
    assert (zero.prompt_tokens, few.prompt_tokens, ours.prompt_tokens) == (2.5, 2.5 + more, 2.5)
    assert (zero.virtual_tokens, ours.virtual_tokens) == (0, 5)
    assert (few.shots, ours.cost) == (1, 1)
    total = ours.prompt_tokens + ours.generated_tokens
    assert few.cost == pytest.approx((few.prompt_tokens + few.generated_tokens) / total)
    assert few.price == pytest.approx((2 * few.prompt_tokens + 10 * few.generated_tokens) / 1e6 * 1000)


def test_examples_stand_in_raw_prompts_as_text(base: BaseModel) -> None:
    shots = (Pair("1+1=", "2", 1), Pair("2+2=", "4", 2))
    prompting = Prompting(PromptFormat.of(base.tokenizer, "raw"), shots, "Add.", "\n\n")
    ids = prompting.encode(base.tokenizer, Pair("3+3=", "6", 1), "test.jsonl")
    assert ids == base.tokenizer("Add.\n\n1+1=2\n\n2+2=4\n\n3+3=")["input_ids"]
    assert prompting.stop == ("\n\n",)


def test_examples_stand_in_chats_as_earlier_turns(base: BaseModel) -> None:
    shots = (
        Pair("1+1=", "2", 1),
        Chat(({"role": "user", "content": "2+2="}, {"role": "assistant", "content": "4"}), (), 2),
    )
    prompting = Prompting(PromptFormat.of(base.tokenizer, "chat", "unused"), shots, "Add.", "\n\n")
    said = [
        ("system", "Add."),
        ("user", "1+1="),
        ("assistant", "2"),
        ("user", "2+2="),
        ("assistant", "4"),
        ("user", "3+3="),
    ]
    text = "".join(f"<s>{role}: {content}</s>" for role, content in said) + "<s>assistant: "
    ids = prompting.encode(base.tokenizer, Pair("3+3=", "6", 1), "test.jsonl")
    assert ids == base.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert prompting.stop == ()


@pytest.mark.parametrize("kind", ["raw", "chat"])
def test_an_adapter_is_asked_as_it_was_trained(base: BaseModel, kind: FormatKind) -> None:
    prompt_format = PromptFormat.of(base.tokenizer, kind)
    ids = Prompting(prompt_format).encode(base.tokenizer, Pair("3+3=", "6", 1), "test.jsonl")
    assert ids == prompt_format.encode_prompt(base.tokenizer, "3+3=")


def test_the_separator_is_in_no_example() -> None:
    assert separator([Pair("a", "b\nc", 1)]) == "\n\n"
    assert separator([Pair("a", "b\n\nc", 1)]) == "\n\n###\n\n"


def test_examples_are_the_seeds_and_never_what_is_asked(examples: Path) -> None:
    pool = read_dataset(examples)
    asked = questions(pool)[:6]
    few, more = (drawn_shots(pool, asked, count, seed=1) for count in (2, 4))
    assert more[:2] == few
    assert not set(more) & set(asked)
    assert {drawn_shots(pool, asked, 4, seed)[0] for seed in range(8)} != {more[0]}
    with pytest.raises(InvalidInputError, match=r"shots: 7 asked for, .*train.jsonl has 6 examples that are not held"):
        drawn_shots(pool, asked, 7, seed=1)


def test_the_base_is_prompted_as_the_first_adapter_or_as_asked(
    base: BaseModel, publish: Publish, tmp_path: Path
) -> None:
    data = write(tmp_path / "test.jsonl", [("ab", "x")])
    adapters = {"a": publish("a", kind="raw"), "b": publish("b", kind="chat")}
    assert [row.prompt_format for row in run(base, data, adapters).rows] == ["raw", "raw", "chat"]
    assert [row.prompt_format for row in run(base, data, adapters, prompt_format="chat").rows] == [
        "chat",
        "raw",
        "chat",
    ]
    (alone,) = run(base, data, {}).rows
    assert alone.prompt_format == "chat"  # the base has a template


def test_without_an_adapter_there_is_no_verdict(base: BaseModel, tmp_path: Path) -> None:
    found = run(base, write(tmp_path / "test.jsonl", [("ab", "x")]), {})
    assert found.verdict == "no adapter to compare: the best prompt is base, zero-shot, with 0.0 % exact_match"
    assert found.difference is None


def test_a_conversation_asks_for_its_last_turn(base: BaseModel, publish: Publish, tmp_path: Path) -> None:
    turns = [("user", "hi"), ("assistant", "hello"), ("user", "who?"), ("assistant", "me")]
    chat = Chat(tuple({"role": role, "content": content} for role, content in turns), (), 1)
    prompting = Prompting(PromptFormat.of(base.tokenizer, "chat"))
    text = "<s>user: hi</s><s>assistant: hello</s><s>user: who?</s><s>assistant: "
    assert prompting.encode(base.tokenizer, chat, "x") == base.tokenizer(text, add_special_tokens=False)["input_ids"]
    with pytest.raises(DataError, match="x:1: a conversation, and the prompt format is raw text, which has no turns"):
        Prompting(PromptFormat.of(base.tokenizer, "raw")).encode(base.tokenizer, chat, "x")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (Text("all of it", 3), "x:3: plain text are not evaluated"),
        (Chat(({"role": "assistant", "content": "hi"},), (), 3), "x:3: a conversation that asks nothing"),
        (
            Chat(({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}), ({"name": "f"},), 3),
            "x:3: a conversation with tools",
        ),
        (Chat(({"role": "tool", "content": "a"}, {"role": "assistant", "content": "b"}), (), 3), "x:3: a tool turn"),
    ],
)
def test_records_without_one_right_answer_are_refused_by_line(examples: Path, record: Text | Chat, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        questions(read_dataset(examples)._replace(source="x", records=(record,)))


def test_json_has_what_a_report_takes(base: BaseModel, publish: Publish, tmp_path: Path, examples: Path) -> None:
    data = write(tmp_path / "test.jsonl", [(prompt, "x") for prompt in ASKED])
    found = run(base, data, {"a": publish("a")}, metric=("token_f1", "bleu"), examples=examples, shots=(1,), limit=21)
    made = json.loads(json.dumps(found.as_json()))
    assert made["metrics"] == ["token_f1", "bleu"]
    assert (made["examples"], made["verdict"]) == (21, found.verdict)
    assert [row["label"] for row in made["rows"]] == ["base, zero-shot", "base, 1-shot", "a"]
    assert set(made["rows"][0]["scores"]) == {"token_f1", "bleu"}
    assert made["rows"][0]["prompt_tokens"] > 1
    assert len(made["samples"]) == 5


def test_the_record_has_nobodys_name(base: BaseModel, publish: Publish, tmp_path: Path) -> None:
    data = write(tmp_path / "secret-name.jsonl", [(prompt, "x") for prompt in ASKED])
    found = run(base, data, {"mine": publish("mine"), "theirs": publish("theirs", seed=5)})
    record = found.record_of("mine")
    assert [row.label for row in record.rows] == ["base, zero-shot", "with the adapter"]
    text = record.model_dump_json()
    assert not any(name in text for name in ("theirs", "mine", "secret-name", str(tmp_path)))
    assert EvaluationRecord.model_validate_json(text) == record


def test_what_a_reader_should_beware_of_is_noted(base: BaseModel, publish: Publish, tmp_path: Path) -> None:
    data = write(tmp_path / "test.jsonl", [("ab", "x")] * 20)
    found = run(
        base, data, {"a": publish("a", record={"data": {"sha256": read_dataset(data).sha256}})}, max_new_tokens=1
    )
    assert found.warnings == (
        "a was trained on these very examples: its figures say nothing of others",
        "a: 100% of the answers are as long as allowed, and were cut there",
    )


def test_faults_are_named_before_anything_is_generated(
    base: BaseModel, publish: Publish, tmp_path: Path, examples: Path
) -> None:
    adapter = publish("a")
    data = write(tmp_path / "test.jsonl", [("ab", "x"), ("c" * 400, "x")])
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(DataError, match=r"empty.jsonl:1: no examples in the file"):
        run(base, empty, {"a": adapter})
    with pytest.raises(ConfigError, match="shots: need --examples FILE"):
        run(base, data, {"a": adapter}, shots=(2,))
    with pytest.raises(DataError, match=r"test.jsonl:2: base, zero-shot: 400 prompt \+ 200 new tokens, over"):
        run(base, data, {"a": adapter}, max_new_tokens=200)
    with pytest.raises(ConfigError, match="unknown metric 'blue'; did you mean 'bleu'"):
        run(base, data, {"a": adapter}, metric=("blue",))


def test_an_adapter_of_another_base_is_refused(
    base: BaseModel, publish: Publish, tmp_path: Path, other_base: Path
) -> None:
    data = write(tmp_path / "test.jsonl", [("ab", "x")])
    foreign = base.record.model_copy(update={"id": "elsewhere", "digest": f"sha256:{'1' * 64}"})
    adapter = publish("foreign", record={"base": foreign})
    with pytest.raises(BaseMismatchError, match=r"foreign: adapter sha256:.* was made on elsewhere \(sha256:111"):
        run(base, data, {"foreign": adapter})
    with pytest.raises(BaseMismatchError, match=r"foreign was made on elsewhere .*; one evaluation has one base"):
        evaluate(EvalConfig(data=data, base="no/such/base"), {"a": publish("a"), "foreign": adapter})


def test_all_answer_in_shared_batches(base: BaseModel, publish: Publish) -> None:
    adapters = [publish("a"), publish("b", "ia3")]
    sampling = Sampling(max_new_tokens=4)
    groups = [[Request((2 + n,), digest, sampling) for n in range(3)] for digest in ("", *(a.digest for a in adapters))]
    with Engine(base) as engine:
        for adapter in adapters:
            engine.load_adapter(adapter)
        found = complete(engine, groups)
        assert engine.stats().mixed_method_steps > 0
        assert found == [engine.generate(group) for group in groups]


def test_figures_are_not_recorded_of_a_tag_that_moved(base: BaseModel, publish: Publish, tmp_path: Path) -> None:
    adapter = publish("a")
    pinned = Store.default().pin("a")
    found = run(base, write(tmp_path / "test.jsonl", [("ab", "x")]), {"a": adapter})
    publish("a", seed=1)
    with pytest.raises(ConflictError):
        record(Store.default(), pinned, adapter, found.record_of("a"))
    assert Store.default().resolve("a").provenance == publish("a", seed=1).provenance


def test_more_requests_than_seats_are_answered_in_order(base: BaseModel) -> None:
    groups = [[Request((2 + number,), sampling=Sampling(max_new_tokens=2)) for number in range(9)], []]
    counted: list[int] = []
    with Engine(base) as engine:
        alone = engine.generate(groups[0])
    with Engine(base, max_requests=4) as engine:
        found, none = complete(engine, groups, lambda: counted.append(1))
        with pytest.raises(InvalidInputError, match="token ids must be"):
            complete(engine, [[*groups[0], Request((100_000,))]])
        assert complete(engine, groups)[0] == found  # what was ended left its seats
    assert (found, none, len(counted)) == (alone, [], 9)
