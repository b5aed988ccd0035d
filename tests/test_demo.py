"""The demo's job on a tiny random base: every part runs, and goals that are missed are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from adapterhub.cli.main import cli
from adapterhub.demo import run_demo
from adapterhub.demo.recipe import SMOLLM2, Plan
from adapterhub.errors import AdapterHubError
from adapterhub.store import Store


@pytest.fixture
def tiny_plan(tiny_base: Path) -> Plan:
    first = tuple(replace(recipe, steps=2) for recipe in SMOLLM2.first)
    return Plan(str(tiny_base), first, replace(SMOLLM2.swapped_in, steps=1))


def test_the_whole_job_runs_and_names_the_goals_it_missed(tiny_plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    missed = run_demo(tiny_plan)
    assert [goal.split(":")[0] for goal in missed] == [name for recipe in tiny_plan.first for name in [recipe.name] * 2]
    printed = capsys.readouterr().out
    assert "demo/tickets-prompt:latest" in printed
    assert "more than one method" in printed
    assert {stored.ref.name for stored in Store.default().list()} == {
        recipe.name for recipe in (*tiny_plan.first, tiny_plan.swapped_in)
    }


def test_missed_goals_make_the_command_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapterhub.demo.run_demo", lambda: ["demo/orders-lora: loss fell by 1%, needed 30%"])
    result = CliRunner().invoke(cli, ["demo"])
    assert result.exit_code == AdapterHubError.exit_code
    assert "loss fell by 1%" in result.stderr
