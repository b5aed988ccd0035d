"""Model cards: what the record says, put where a person's part is left alone, and spelled so that it stays text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import save_stub_adapter
from huggingface_hub import ModelCard
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapterhub.adapter import Adapter, BaseRecord, Provenance, read_folder
from adapterhub.base_name import BUILT_IN, hub_id
from adapterhub.hub.card import make_card
from adapterhub.hub.card_text import BEGIN, END, one_line, plain
from adapterhub.hub.target import Target
from adapterhub.prompt_format import PromptFormat

TARGET = Target("org/Digits", license="apache-2.0", datasets=("org/digits-data",))
Make = Callable[..., str]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    return read_folder(save_stub_adapter(tmp_path_factory.mktemp("card")))


@pytest.fixture
def card(adapter: Adapter) -> Make:
    """`card(present="", target=TARGET, **record)`: the card of an adapter with these fields in its record."""

    def make(present: str = "", target: Target = TARGET, **record: Any) -> str:
        return make_card(recorded(adapter, **record), target, "org/base", present)

    return make


def recorded(adapter: Adapter, **record: Any) -> Adapter:
    base = BaseRecord(id="org/base", digest=f"sha256:{'0' * 64}")
    return replace(adapter, provenance=Provenance(**{"method": "lora", "base": base, **record}))


def metadata(card: str) -> dict[str, Any]:
    found: dict[str, Any] = ModelCard(card).data.to_dict()  # type: ignore[no-untyped-call]
    return found


def outside(card: str) -> str:
    """The text of a card without the metadata and without ours."""
    body = REGEX_YAML_BLOCK.sub("", card)
    return body[: body.index(BEGIN)] + body[body.index(END) + len(END) :]


def test_results_of_evaluations_are_a_table_whose_text_stays_text(card: Make) -> None:
    hostile = "a|b <!-- adapterhub:end --> [x](http://y) <script>"
    row = {"prompt_tokens": 12.34, "generated_tokens": 3.0, "scores": {"regex=a|b": 0.5}, "intervals": {}}
    result = {
        "data_sha256": "0" * 64,
        "examples": 30,
        "verdict": hostile,
        "settings": {hostile: hostile},
        "rows": [row | {"label": hostile}, row | {"label": "with the adapter", "intervals": {"regex=a|b": (0.4, 0.6)}}],
    }
    made = card(results=[result])
    assert made.count(END) == 1
    assert "<script" not in made
    assert "|  | regex=a&#124;b | prompt tokens | generated tokens |" in made
    assert "| with the adapter | 50.0 (40.0 to 60.0) | 12.3 | 3.0 |" in made
    figures = [each["metrics"][0] for each in metadata(made)["model-index"][0]["results"]]
    assert figures == [{"type": "regex=a|b", "name": "regex=a|b", "value": 0.5}]


def test_a_new_card_has_what_the_hub_wants_to_know(card: Make) -> None:
    made = card(evaluations={"validation_loss_before": 3.5, "validation_loss_after": 0.25})
    found = metadata(made)
    results = found.pop("model-index")[0]["results"][0]
    assert found == {
        "base_model": "org/base",
        "base_model_relation": "adapter",
        "datasets": ["org/digits-data"],
        "library_name": "peft",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "tags": ["adapterhub", "lora"],
    }
    assert [(metric["name"], metric["value"]) for metric in results["metrics"]] == [
        ("validation_loss_before", 3.5),
        ("validation_loss_after", 0.25),
    ]
    assert "| validation&#95;loss | 3.5 | 0.25 |" in made
    assert "\n# Digits\n" in made


def test_a_card_tells_how_to_use_the_adapter(card: Make) -> None:
    made = card(target=replace(TARGET, revision="next"))
    assert 'model = PeftModel.from_pretrained(base, "org/Digits", revision="next")\n' in made
    assert "adapterhub pull hf:org/Digits:next --name mine\nadapterhub serve --base org/base\n" in made
    assert "import adapterhub.peft" not in made


def test_a_card_tells_the_prompts_and_the_record(card: Make) -> None:
    chat = PromptFormat(kind="chat", system_prompt="Be <b>brief</b>.", template_sha256="ab12" * 16, closes_with="</s>")
    made = card(prompt_format=chat, data={"examples": 12}, training={"seed": 3})
    assert "chat template (sha256 ab12ab12ab12). Its system turn: Be &#60;b&#62;brief&#60;/b&#62;.\n" in made
    assert "A response ends with &#60;/s&#62;." in made
    assert "| data examples | 12 |\n| training seed | 3 |" in made


PRESENT = """\
---
license: mit  # by hand
library_name: transformers
base_model: [org/base, org/other]
tags:
- mine
- lora
extra: {a: 1}
model-index:
- name: Theirs
  results:
  - {task: {type: x}, dataset: {type: d, name: D}, metrics: [{type: m, value: 1, odd: kept}]}
  - {task: {type: x}, dataset: {type: held-out, name: old}, metrics: [{type: m, value: 2}]}
---
# By hand

<b>kept</b>
"""


def test_metadata_is_merged_key_by_key(card: Make) -> None:
    made = card(PRESENT, replace(TARGET, license=""), evaluations={"accuracy": 0.5})
    found = metadata_as_written(made)
    assert found["license"] == "mit"
    assert found["library_name"] == "transformers"
    assert found["base_model"] == ["org/base", "org/other"]
    assert found["tags"] == ["mine", "lora", "adapterhub"]
    assert found["extra"] == {"a": 1}
    (index,) = found["model-index"]
    assert index["name"] == "Theirs"
    assert [result["dataset"]["type"] for result in index["results"]] == ["d", "held-out"]
    assert index["results"][0]["metrics"][0]["odd"] == "kept"
    assert index["results"][1]["metrics"][0]["value"] == 0.5
    assert outside(made).startswith("# By hand\n\n<b>kept</b>\n\n")


def metadata_as_written(card: str) -> dict[str, Any]:
    block = REGEX_YAML_BLOCK.search(card)
    assert block is not None
    found: dict[str, Any] = yaml.safe_load(block[2])
    return found


def test_an_unchanged_card_stays_to_the_byte(card: Make) -> None:
    made = card(PRESENT)
    assert card(made) == made
    by_hand = made.replace("license: apache-2.0", "license:   apache-2.0  # ours").replace("# By hand", "# Mine")
    assert card(by_hand) == by_hand


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark_stay(card: Make, newline: str, mark: str) -> None:
    made = card(mark + PRESENT.replace("\n", newline))
    assert made.startswith(f"{mark}---{newline}license: apache-2.0{newline}")
    assert set(re.findall(r"\r?\n", made)) == {newline}
    assert card(made) == made


def test_a_section_that_is_there_is_replaced_where_it_stands(card: Make) -> None:
    made = card(f"# Mine\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    assert outside(made) == "# Mine\n\n\n\nafter\n"
    assert "\nold\n" not in made


HOSTILE = (END, BEGIN, "x\n---\na: b", "a | b", "`x`", "[a](javascript:b)", "![](http://x)", "<script>", "\n```\n")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(HOSTILE)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(TEXT, TEXT, TEXT, TEXT))
def test_text_of_a_record_stays_text(card: Make, texts: tuple[str, ...]) -> None:
    method, key, value, system = texts
    prompts = PromptFormat(kind="chat", system_prompt=system, closes_with=value)
    made = card(method=method, data={key: value}, evaluations={key: 1.5}, prompt_format=prompts)
    found = metadata_as_written(made)
    assert set(found) <= {"base_model", "base_model_relation", "datasets", "library_name", "license", "model-index",
                          "pipeline_tag", "tags"}  # fmt: skip
    assert found["tags"] == ["adapterhub", one_line(method)]
    body = REGEX_YAML_BLOCK.sub("", made)
    assert (body.count(BEGIN), body.count(END), body.count("```")) == (1, 1, 4)
    ours = body[body.index(BEGIN) + len(BEGIN) : body.index(END)]
    assert "<" not in ours
    assert ours.count("](") == 1
    assert {line.count("|") for line in ours.splitlines() if line.startswith("| ")} == {3, 4}
    assert card(made, method=method, data={key: value}, evaluations={key: 1.5}, prompt_format=prompts) == made


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_a_persons_text_stays_to_the_byte(card: Make, theirs: str) -> None:
    present = f"---\nlicense: mit\n---\n{theirs}"
    made = card(present)
    assert made[made.index("\n---\n") + 5 :].startswith(theirs)
    assert card(made) == made


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("a_b", "a&#95;b"),
        ("a\n\x1b[2Jb", "a &#91;2Jb"),
        ("x" * 500, "x" * 400 + "..."),
        (1.5, "1.5"),
        ([1], "&#91;1&#93;"),
    ],
)
def test_values_are_spelled_out(text: Any, spelled: str) -> None:
    assert plain(text) == spelled


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("org/Base-1.0", "org/Base-1.0"),
        (BUILT_IN, "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("a-folder", ""),
        ("/home/me/base", ""),
        ("../up/base", ""),
        ("org/a/b", ""),
        ("org/base\n", ""),
        ("", ""),
    ],
)
def test_a_base_has_an_id_on_the_hub_or_none(name: str, found: str) -> None:
    assert hub_id(name) == found


def test_a_path_is_no_base_model(tmp_path: Path) -> None:
    assert hub_id(str(tmp_path)) == ""
