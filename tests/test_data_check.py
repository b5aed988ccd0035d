"""`adapterhub data check`: every fault of data with its words, as JSON and on a terminal; training tells the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from transformers import AutoTokenizer

from adapterhub.cli.main import cli
from adapterhub.data import DataReport, check_data
from adapterhub.data.check_config import CheckConfig
from adapterhub.data.lengths import Bin, Lengths
from adapterhub.data.measure import Tokens
from adapterhub.plugins import load_objectives
from adapterhub.prompt_format import PromptFormat
from adapterhub.train import TrainConfig

Values = dict[str, Any]
LONG = "a response of more than twenty characters"


def pair(prompt: str, completion: str = "b") -> Values:
    return {"prompt": prompt, "completion": completion}


def put(folder: Path, *objects: Values, name: str = "data.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(values) + "\n" for values in objects))
    return path


def check(data: Path, **options: Any) -> DataReport:
    return check_data(data, **{"max_length": 64, **options})


def told(report: DataReport) -> list[tuple[str, str]]:
    """Kinds and messages, without the folder."""
    return [(each.kind, each.message.replace(f"{Path(each.source).parent}/", "")) for each in report.findings]


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["data", "check", *words])


def test_good_data_have_no_findings(tmp_path: Path) -> None:
    report = check(put(tmp_path, *(pair(f"{number}?", str(number)) for number in range(9))))
    assert (report.errors, report.warnings, report.findings) == (0, 0, ())
    assert report.files[0].lengths is not None
    assert (report.files[0].lengths.unit, report.files[0].over) == ("characters", None)


def preference(chosen: str, rejected: str) -> Values:
    return {"prompt": "a", "chosen": chosen, "rejected": rejected}


def feedback(label: bool) -> Values:
    return {"prompt": "a", "completion": "b", "label": label}


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([pair("a"), pair("b"), pair("a")], "duplicate", "1 record repeats an earlier one: line 3 (as 1)"),
        ([pair("a")] * 8, "duplicate",
         "7 records repeat earlier ones: lines 2 (as 1), 3 (as 1), 4 (as 1), 5 (as 1), 6 (as 1) and 2 more"),
        ([{"text": "a"}] * 2, "duplicate", "1 record repeats an earlier one: line 2 (as 1)"),
        ([pair("a", "b"), pair("a", "c")], "conflict",
         "1 record has the prompt of an earlier one and another response: line 2 (as 1)"),
        ([preference("x", "y"), preference("y", "x")], "conflict",
         "1 record prefers what an earlier one rejects: line 2 (as 1)"),
        ([feedback(True), feedback(False)], "conflict",
         "1 record rates an answer otherwise than before: line 2 (as 1)"),
        ([pair("a", LONG), pair("b", LONG), pair("c", ".")], "short_response",
         "1 response is shorter than 3 characters, where most have 20 or more: line 3"),
        ([preference("x", "x")], "no_preference", "1 record prefers an answer to the same answer: line 1"),
        ([pair("a") | {"id": 1, "url": ""}], "unused_column",
         "2 columns are not used by format prompt_completion: 'id', 'url'"),
    ],
)  # fmt: skip
def test_what_looks_wrong_is_a_warning(tmp_path: Path, rows: list[Values], kind: str, message: str) -> None:
    report = check(put(tmp_path, *rows))
    assert told(report) == [(kind, f"data.jsonl: {message}")]
    assert (report.errors, report.warnings) == (0, 1)


def test_other_pairs_of_one_prompt_and_labels_that_are_short_are_no_findings(tmp_path: Path) -> None:
    assert check(put(tmp_path, preference("x", "y"), preference("y", "z"))).findings == ()
    assert check(put(tmp_path, pair("a", "1"), pair("b", "no"), pair("c", "yes"))).findings == ()


def test_prompts_on_both_sides_are_leakage_also_where_case_and_spacing_differ(tmp_path: Path) -> None:
    data = put(tmp_path, pair("Where is it?"), pair("What is it?"), pair("Who?"))
    validation = put(tmp_path, pair("Where is it?", "c"), pair("what  is IT? "), pair("When?"), name="val.jsonl")
    findings = check(data, validation=validation).findings
    assert [(each.kind, each.source, each.message) for each in findings] == [
        ("leakage", str(validation),
         f"{validation}: 1 of 3 prompts are also in {data}, so the validation loss tells too little: line 1 (as 1)"),
        ("near_leakage", str(validation),
         f"{validation}: 1 of 3 prompts differ from one in {data} by case and spacing only: line 2 (as 2)"),
    ]  # fmt: skip


def test_all_errors_are_told_in_their_places_up_to_a_limit(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}]
    path = put(tmp_path, pair("a"), pair("", "b"), {"messages": turns}, {"prompt": "a"}, pair("b"))
    path.write_text(path.read_text() + "{\n" * 60)
    report = check(path)
    assert report.errors == 63
    assert len(report.findings) == 50
    assert told(report)[:4] == [
        ("unreadable", "data.jsonl:2: 'prompt' is empty"),
        ("unreadable", "data.jsonl:3: no 'prompt'; the file is of format 'prompt_completion' by its first record, "
                       "this looks like 'messages'"),
        ("unreadable", "data.jsonl:4: no 'completion'"),
        ("unreadable", "data.jsonl:6: not JSON: Expecting property name enclosed in double quotes at column 2"),
    ]  # fmt: skip
    assert [finding.line for finding in report.findings[:4]] == [2, 3, 4, 6]
    assert len(report.files[0].dataset.records) == 2


def test_the_format_is_that_of_the_first_record_that_has_one(tmp_path: Path) -> None:
    report = check(put(tmp_path, {"x": 1}, pair("a")))
    assert (report.errors, report.files[0].dataset.format) == (1, "prompt_completion")
    assert "data.jsonl:1: unknown shape, with the keys 'x' (accepted: " in report.findings[0].message


def test_records_that_the_objective_does_not_learn_from_are_errors(tmp_path: Path) -> None:
    sft = load_objectives().get("sft")
    (error,) = check(put(tmp_path, {"text": "a"}), objective=sft).findings
    assert error.kind == "objective"
    assert "data.jsonl:1: objective sft learns from " in error.message
    assert error.message.endswith(", not from plain text")


@pytest.fixture(scope="module")
def tokens(tiny_base: Path) -> Tokens:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    return Tokens(tokenizer, PromptFormat.of(tokenizer, "raw"))


def test_lengths_are_in_the_bases_tokens_and_those_over_the_limit_are_errors(tmp_path: Path, tokens: Tokens) -> None:
    report = check(put(tmp_path, pair("abcd", "ef"), pair("a" * 70)), tokens=tokens)
    assert told(report) == [("too_long", "data.jsonl:2: 72 tokens, over max_length 64")]
    assert report.files[0].over == 1
    assert report.files[0].lengths is not None
    assert (report.files[0].lengths.unit, report.files[0].lengths.least) == ("tokens", 7)
    report = check(put(tmp_path, {"text": "a" * 70}), tokens=tokens)  # which is cut, not refused
    assert (report.files[0].over, report.errors) == (1, 0)


TURNS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def test_conversations_are_counted_by_the_bases_template(tmp_path: Path, tiny_base: Path, tokens: Tokens) -> None:
    tokenizer = tokens.tokenizer
    by_template = Tokens(tokenizer, PromptFormat.of(tokenizer, "chat", "Be kind."))
    report = check(put(tmp_path, {"messages": TURNS}), tokens=by_template, max_length=500)
    system = {"role": "system", "content": "Be kind."}
    text = str(tokenizer.apply_chat_template([system, *TURNS], tokenize=False))
    assert report.files[0].lengths is not None
    assert report.files[0].lengths.most == len(tokenizer(text, add_special_tokens=False)["input_ids"])
    chosen = {"prompt": TURNS[:1], "chosen": TURNS[1:], "rejected": [{"role": "assistant", "content": "no"}]}
    assert check(put(tmp_path, chosen), tokens=by_template, max_length=500).errors == 0


def test_in_raw_text_only_a_question_with_its_answer_is_a_conversation(tmp_path: Path, tokens: Tokens) -> None:
    path = put(tmp_path, {"messages": TURNS}, {"messages": TURNS * 2})
    report = check(path, tokens=tokens)
    assert told(report) == [
        (
            "prompt_format",
            "data.jsonl:2: a conversation of several turns, a system turn or tools needs a chat template; "
            "prompt_format is raw text",
        )
    ]
    assert report.files[0].lengths == check(put(tmp_path, pair("hi", "hello")), tokens=tokens).files[0].lengths


@pytest.mark.parametrize(
    ("lengths", "bins"),
    [
        ([5], [Bin(5, 5, 1)]),
        ([1, 1, 3], [Bin(1, 1, 2), Bin(2, 2, 0), Bin(3, 3, 1)]),
        ([*range(100, 300), 5000],
         [*(Bin(low, low + 19, 20) for low in range(100, 280, 20)), Bin(280, 5000, 21)]),
    ],
)  # fmt: skip
def test_a_histogram_holds_every_record_once_and_its_last_bar_the_longest(lengths: list[int], bins: list[Bin]) -> None:
    found = Lengths.of(lengths, "tokens")
    assert found is not None
    assert list(found.bins) == bins
    assert sum(each.records for each in found.bins) == len(lengths)


def test_json_says_everything(tmp_path: Path, tiny_base: Path) -> None:
    data = put(tmp_path, pair("a") | {"id": 1}, pair("a"), {"prompt": 7})
    done = run(str(data), "--base", str(tiny_base), "--prompt-format", "raw", "--max-length", "9", "--json")
    assert done.exit_code == 2
    report = json.loads(done.stdout)
    (file,) = report.pop("files")
    findings = report.pop("findings")
    assert report == {"max_length": 9, "errors": 1, "warnings": 2, "base": str(tiny_base)}
    lengths = file.pop("lengths")
    assert len(file.pop("sha256")) == 64
    assert file == {
        "source": str(data),
        "hub": "",
        "format": "prompt_completion",
        "records": 2,
        "unused": ["id"],
        "over_max_length": 0,
        "over_max_length_share": 0.0,
    }
    bins = [{"first": 3, "last": 3, "records": 2}]
    assert lengths == {
        "unit": "tokens",
        "least": 3,
        "median": 3,
        "p90": 3,
        "p99": 3,
        "most": 3,
        "total": 6,
        "bins": bins,
    }
    assert [(each["severity"], each["kind"], each["line"], each["records"]) for each in findings] == [
        ("error", "unreadable", 3, 1),
        ("warning", "unused_column", 0, 0),
        ("warning", "duplicate", 2, 1),
    ]
    assert findings[0]["message"] == f"{data}:3: 'prompt' is not text but int"
    assert all(each["source"] == str(data) for each in findings)


def test_the_terminal_shows_figures_a_histogram_and_the_findings(tmp_path: Path) -> None:
    data = put(tmp_path, pair("a"), pair("a"), pair("bc"))
    done = run(str(data))
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[:3] == [str(data), "  format   prompt_completion", "  records  3"]
    assert "length   2 to 3 characters, half up to 2, 90% up to 3, 99% up to 3; 7 in all" in done.stdout
    assert lines[5:8] == [
        "  characters  records",
        f"           2        2  {'█' * 50}",
        f"           3        1  {'█' * 25}",
    ]
    assert lines[-2:] == [
        f"warning: {data}: 1 record repeats an earlier one: line 2 (as 1)",
        "0 errors, 1 warning",
    ]


def test_errors_end_with_2_and_no_text_of_the_data_steers_the_terminal(tmp_path: Path) -> None:
    path = put(tmp_path, *[{"\x1b[2J": 1}] * 60)
    done = run(str(path))
    assert done.exit_code == 2
    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[-2:] == ["error: 10 more errors", "60 errors, 0 warnings"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("nowhere.jsonl",), 2, "nowhere.jsonl: no such file"),
        (("DATA", "--validation", "nowhere.jsonl"), 2, "nowhere.jsonl: no such file"),
        (("DATA", "--format", "jason"), 2, "format: unknown format 'jason' (known: alpaca, feedback, messages, "),
        (("DATA", "--objective", "sfd"), 2, "unknown objective 'sfd'; did you mean 'sft'?"),
        (("DATA", "--base", "no/such/base"), 3, "no/such/base"),
        (("DATA", "--max-length", "1"), 2, "--max-length: Input should be greater than or equal to 2 (given: '1')"),
        (("DATA", "--system-prompt", "x"), 2, "system_prompt: needs a base, whose chat template it is for"),
        (("hf:name",), 2, "data: 'hf:name' is no data set of the Hub"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_it(
    tmp_path: Path, words: tuple[str, ...], code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    data = str(put(tmp_path, pair("a")))
    done = run(*(data if word == "DATA" else word for word in words))
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert message in done.stderr


def test_the_limit_is_that_of_training() -> None:
    assert CheckConfig().max_length == TrainConfig.model_fields["max_length"].default


def test_training_stops_at_an_error_before_the_base_loads_and_warns_when_it_starts(
    tmp_path: Path, tiny_base: Path
) -> None:
    def train(data: Path, base: str, *words: str) -> Result:
        given = ["--data", str(data), "--base", base, "--name", "x", "--max-steps", "1"]
        return CliRunner().invoke(cli, ["train", *given, *words])

    bad = put(tmp_path, pair("a"), {"prompt": "b"}, name="bad.jsonl")
    done = train(bad, "no/such/base")
    assert (done.exit_code, done.stderr) == (2, f"error: {bad}:2: no 'completion'\n")
    done = train(put(tmp_path, pair("a", LONG)), str(tiny_base), "--format", "text")
    assert "no 'text'; the file is of format 'text' as it was asked for, this looks like 'prompt_com" in done.stderr
    data = put(tmp_path, pair("a"), pair("b"), pair("a"))
    done = train(data, str(tiny_base), "--validation", str(data), "--prompt-format", "raw")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines()[:3] == [
        f"warning: {data}: 1 record repeats an earlier one: line 3 (as 1)",
        f"warning: {data}: 1 record repeats an earlier one: line 3 (as 1)",
        f"warning: {data}: 3 of 3 prompts are also in {data}, so the validation loss tells too little: "
        "lines 1 (as 1), 2 (as 2), 3 (as 1)",
    ]
