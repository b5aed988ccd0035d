"""Metrics of answers: the built-in ones, and a stranger's as the docs have it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import sacrebleu

from adapterhub.errors import ConfigError, PluginError
from adapterhub.evaluate.chosen_metric import ChosenMetric, chosen_metrics
from adapterhub.plugins import load_metrics
from adapterhub.plugins.found import METRICS_GROUP

PAGE = Path(__file__).parent.parent / "docs" / "evaluation.md"
ANSWERS = ["The cat sat on the mat.", "  red \n", "", "a quick brown fox jumps over it", "Paris"]
EXPECTED = ["the cat is on the mat", "red", "blue", "the quick brown fox jumps over the dog", "Paris, France"]


def chosen(word: str) -> ChosenMetric:
    (metric,) = chosen_metrics([word])
    return metric


def scores(word: str, answers: Sequence[str] = ANSWERS, expected: Sequence[str] = EXPECTED) -> list[float]:
    return chosen(word).metric.scores(answers, expected)


def figure(word: str, answers: Sequence[str], expected: Sequence[str]) -> float:
    metric = chosen(word)
    return metric.whole(metric.tallies(answers, expected).sum(axis=0).tolist(), len(answers))


def test_exact_match_leaves_white_space_around_aside_and_nothing_else() -> None:
    assert scores("exact_match") == [0, 1, 0, 0, 0]
    assert scores("exact_match", ["Red", "red.", " red"], ["red"] * 3) == [0, 0, 1]


def test_token_f1_counts_words_as_squad_does() -> None:
    # cat sat on mat / cat is on mat: 3 of 4 and 3 of 4; articles, case and punctuation do not count
    assert scores("token_f1") == pytest.approx([0.75, 1, 0, 2 * 5 / (6 + 6), 2 / 3])
    assert scores("token_f1", ["the", "a b b", ""], ["", "b b b c", ""]) == pytest.approx([1, 2 * 2 / (2 + 4), 1])


def test_bleu_is_sacrebleus_of_the_corpus_also_out_of_tallies() -> None:
    answers = [f"{answer} {number}" for number, answer in enumerate(ANSWERS)]
    expected = [f"{answer} {number}" for number, answer in enumerate(EXPECTED)]
    assert figure("bleu", answers, expected) == pytest.approx(sacrebleu.corpus_bleu(answers, [expected]).score / 100)
    drawn = [0, 0, 3, 4, 3]
    metric = chosen("bleu")
    sums = metric.tallies(answers, expected)[drawn].sum(axis=0).tolist()
    again = sacrebleu.corpus_bleu([answers[i] for i in drawn], [[expected[i] for i in drawn]])
    assert metric.whole(sums, len(drawn)) == pytest.approx(again.score / 100)
    assert figure("bleu", EXPECTED, EXPECTED) == 1


def test_rouge_l_is_the_longest_common_subsequence() -> None:
    # the cat on the mat: 5 of 6 and 5 of 6
    assert scores("rouge_l")[:3] == pytest.approx([5 / 6, 1, 0])


def test_regex_tells_the_form_of_an_answer() -> None:
    assert scores(r"regex=^\d+$", [" 12\n", "12 a", ""], ["x"] * 3) == [1, 0, 0]
    assert chosen("regex=^a=b$").label == "regex=^a=b$"


def test_an_expression_without_end_is_stopped_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapterhub_metrics.regex.SECONDS", 0.05)
    with pytest.raises(ConfigError, match=r"metric regex: '\(a\|a\)\*\$' takes more than 0.05 s"):
        scores("regex=(a|a)*$", ["a" * 60 + "b"], ["x"])


def test_json_schema_takes_json_of_that_shape_alone(tmp_path: Path) -> None:
    schema = tmp_path / "order.json"
    schema.write_text(json.dumps({"type": "object", "required": ["qty"], "properties": {"qty": {"type": "integer"}}}))
    answers = ['{"qty": 3}', ' {"qty": 3}\n', '{"qty": "3"}', '{"qty": 3} and more', "NaN", "[" * 100_000, ""]
    assert scores(f"json_schema={schema}", answers, ["x"] * len(answers)) == [1, 1, 0, 0, 0, 0, 0]
    assert chosen(f"json_schema={schema}").label == "json_schema=order.json"  # no folder of this machine


def test_nothing_is_fetched_for_a_schema(tmp_path: Path) -> None:
    schema = tmp_path / "far.json"
    schema.write_text(json.dumps({"$ref": "http://127.0.0.1:1/schema.json"}))
    with pytest.raises(ConfigError, match=r"'http://127\.0\.0\.1:1/schema\.json' is not in the schema, and nothing is"):
        scores(f"json_schema={schema}", ["1"], ["1"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("exactmatch", r"unknown metric 'exactmatch'; did you mean 'exact_match'\? \(known: bleu, exact_match, "),
        ("exact_match=2", r"metric exact_match: takes no argument \(given: '2'\)"),
        ("regex", "metric regex: no expression"),
        ("regex=(", r"metric regex: '\(' is not a regular expression: missing \)"),
        ("json_schema", "metric json_schema: no file"),
        ("json_schema=nowhere.json", "metric json_schema: nowhere.json: No such file or directory"),
    ],
)
def test_a_metric_that_cannot_score_is_refused_by_name(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(word)


@pytest.mark.parametrize(("text", "reason"), [("{", "not JSON"), ('{"type": "no"}', "no schema: 'no' is not valid")])
def test_a_file_that_is_no_schema_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ConfigError, match=f"bad.json: {reason}"):
        chosen(f"json_schema={tmp_path / 'bad.json'}")


@pytest.mark.parametrize(
    ("word", "module", "package"),
    [
        ("bleu", "sacrebleu", "sacrebleu"),
        ("rouge_l", "rouge_score.rouge_scorer", "rouge-score"),
        ("json_schema=x", "jsonschema", "jsonschema"),
    ],
)
def test_what_is_not_installed_is_said_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, word: str, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=f"needs the package {package}, which is not installed; run `pip install 'ad"):
        chosen(word)


Plugin = Callable[[str], EntryPoint]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    """Makes the entry point of a module with the given source."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(source: str) -> EntryPoint:
        (tmp_path / "metric_under_test.py").write_text(source)
        return EntryPoint("near", "metric_under_test", METRICS_GROUP)

    yield make
    sys.modules.pop("metric_under_test", None)


def documented() -> str:
    examples = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    (example,) = [each for each in examples if "register_metrics" in each]
    return str(example)


def test_the_documented_metric_works_as_it_is(plugin: Plugin) -> None:
    metrics = load_metrics([plugin(documented())])
    (found,) = metrics.plugins
    assert (found.error, found.metrics) == ("", ("near",))
    (metric,) = chosen_metrics(["near=0.1"], metrics)
    assert metric.label == "near=0.1"
    assert metric.metric.scores(["1.05", "2", "two"], ["1", "1", "2"]) == [1, 0, 0]
    with pytest.raises(ConfigError, match="metric near: 'x' is no number"):
        chosen_metrics(["near=x"], metrics)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("float(self._near(a, e))", "self.inner", "AttributeError: 'Near' object has no attribute 'inner'"),
        ("zip(answers, expected, strict=True)]", "zip(answers[:1], expected)]", "no finite numbers, as many for each"),
        ("float(self._near(a, e))", "float('nan')", "no finite numbers"),
        ("float(self._near(a, e))", "7.0", r"the figure 7.0 is not from 0 to 1"),
    ],
)
def test_a_metric_that_breaks_its_contract_is_named(plugin: Plugin, old: str, new: str, reason: str) -> None:
    source = documented()
    assert old in source
    (metric,) = chosen_metrics(["near"], load_metrics([plugin(source.replace(old, new))]))
    with pytest.raises(PluginError, match=f"metric 'near': .*{reason}"):
        metric.whole(metric.tallies(["1", "2"], ["1", "2"]).sum(axis=0).tolist(), 2)
