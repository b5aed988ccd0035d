"""The router `similarity` picks the adapter trained on such prompts, and none for other prompts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from adapterhub_similarity import Similarity

from adapterhub import Candidate, PickPrompt, sign_prompts
from adapterhub.adapter import BaseRecord, Provenance
from adapterhub.tasks import ORDERS, TICKETS

GENERAL = (
    "What is the capital of Australia?",
    "Write a haiku about autumn rain.",
    "Summarize the plot of Romeo and Juliet.",
    "Write a Python function that reverses a list.",
    "How do I tie a bow tie?",
    "Can you help me plan a weekend trip to Vienna?",
    "Fix the grammar: he go to school yesterday.",
    "Write an email to my boss asking for a day off.",
    "???",
)
TASKS = {task.name: task for task in (ORDERS, TICKETS)}
TOPICS = ("banks", "birds", "boats", "books", "bread", "bridges")


def prompts(file: Path) -> list[str]:
    return [json.loads(line)["prompt"] for line in file.read_text().splitlines()]


def candidate(name: str, signature: str, *, created: str = "") -> Candidate:
    base = BaseRecord(id="base", digest=f"sha256:{'0' * 64}")
    provenance = Provenance(method="lora", base=base, prompt_signature=signature, created=created)
    return Candidate(name, f"sha256:{name}", provenance)


def about(topic: str) -> str:
    """The signature of prompts that have all but a word in common with those about another topic."""
    return sign_prompts(f"Answer in one short sentence.\nWhat is number {number} of {topic}?" for number in range(30))


def picked(pick: PickPrompt, prompt: str) -> str:
    found = pick(prompt)
    return found.name if found else ""


@pytest.fixture(scope="module")
def shipped() -> list[Candidate]:
    return [candidate(name, sign_prompts(prompts(task.train))) for name, task in TASKS.items()]


def test_every_held_out_prompt_of_the_shipped_tasks_finds_its_adapter(shipped: list[Candidate]) -> None:
    pick = Similarity().fit(shipped)
    for name, task in TASKS.items():
        assert {picked(pick, prompt) for prompt in prompts(task.test)} == {name}


def test_other_prompts_are_left_to_the_base_however_few_candidates_there_are(shipped: list[Candidate]) -> None:
    for candidates in (shipped, shipped[:1], shipped[1:]):
        pick = Similarity().fit(candidates)
        others = [prompt for each in shipped if each not in candidates for prompt in prompts(TASKS[each.name].test)]
        assert {picked(pick, prompt) for prompt in (*GENERAL, *others)} == {""}


def test_many_alike_and_one_that_differs_do_not_draw_prompts_that_resemble_none(shipped: list[Candidate]) -> None:
    # With the mean taken away, and not what lies along it, what resembles none looks like the one that differs.
    pick = Similarity().fit([*(candidate(topic, about(topic)) for topic in TOPICS), shipped[0]])
    assert {picked(pick, prompt) for prompt in GENERAL} == {""}
    assert picked(pick, prompts(TASKS[shipped[0].name].test)[0]) == shipped[0].name


def test_what_all_tasks_share_does_not_decide() -> None:
    pick = Similarity().fit([candidate(topic, about(topic)) for topic in TOPICS])
    assert picked(pick, "Answer in one short sentence.\nWhat is number 77 of birds?") == "birds"
    assert picked(pick, "Answer in one short sentence.\nWhat is number 77 of clouds?") == ""


def test_of_adapters_trained_on_the_same_prompts_the_last_made_is_picked(shipped: list[Candidate]) -> None:
    orders = prompts(TASKS["orders"].train)
    old = candidate("old", sign_prompts(orders[: len(orders) * 9 // 10]), created="2026-01-01T00:00:00+00:00")
    new = candidate("new", sign_prompts(orders[len(orders) // 10 :]), created="2026-02-01T00:00:00+00:00")
    for candidates in ([old, new], [new, old], [old, *(each for each in shipped if each.name == "tickets"), new]):
        assert picked(Similarity().fit(candidates), prompts(TASKS["orders"].test)[0]) == "new"


def test_an_adapter_without_a_signature_is_never_picked_and_the_log_says_so_once(
    shipped: list[Candidate], caplog: pytest.LogCaptureFixture
) -> None:
    router = Similarity()
    unsigned = candidate("imported", "")
    assert router.fit([unsigned])("anything at all") is None
    assert picked(router.fit([unsigned, *shipped]), prompts(TASKS["tickets"].test)[0]) == "tickets"
    assert len(caplog.records) == 1
    assert "router similarity never picks imported: prompt_signature: ''" in caplog.text
