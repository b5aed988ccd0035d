"""The shipped tasks: made by their script, with nothing held out that is also trained on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from adapterhub.data import read_dataset
from adapterhub.tasks import ORDERS, TICKETS, Task
from adapterhub.tasks.tickets import LABELS

TASKS = pytest.mark.parametrize("task", [ORDERS, TICKETS], ids=lambda task: str(task.name))


def test_the_files_are_what_the_script_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "adapterhub.tasks.make", str(tmp_path)], check=True)
    for task in (ORDERS, TICKETS):
        for path in (task.train, task.test):
            assert (tmp_path / path.name).read_bytes() == path.read_bytes(), (
                f"{path}: run python -m adapterhub.tasks.make"
            )


@TASKS
def test_no_prompt_is_both_trained_on_and_held_out(task: Task) -> None:
    train, test = read_dataset(task.train).pairs, read_dataset(task.test).pairs
    assert len(train) >= 300
    assert len(test) >= 120
    prompts = [pair.prompt for pair in (*train, *test)]
    assert len(set(prompts)) == len(prompts)


@TASKS
def test_every_expected_answer_scores(task: Task) -> None:
    assert all(task.score(pair.completion, pair.completion) for pair in read_dataset(task.test).pairs)


def test_an_order_is_scored_as_json() -> None:
    expected = '{"item":"mug","qty":3,"city":"Oslo"}'
    assert ORDERS.score('{ "city": "Oslo", "qty": 3, "item": "mug" }\n', expected)
    assert not ORDERS.score('{"item":"mug","qty":"3","city":"Oslo"}', expected)
    assert not ORDERS.score(expected + " and more", expected)
    assert not ORDERS.score("", expected)


def test_a_ticket_is_scored_by_its_label_alone() -> None:
    assert TICKETS.score(" Billing\n", "billing")
    assert not TICKETS.score("billing, I think", "billing")


def test_held_out_tickets_have_every_label_and_phrasings_not_trained_on() -> None:
    train, test = read_dataset(TICKETS.train).pairs, read_dataset(TICKETS.test).pairs
    assert {pair.completion for pair in test} == set(LABELS)
    assert not any("throws me out" in pair.prompt for pair in train)
    assert any("throws me out" in pair.prompt for pair in test)
