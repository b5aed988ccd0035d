"""Requests that start together, over N adapters, by every contender in turn."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import roster
from benchmarks.answers import HEAD, Probe, Verdict, share
from benchmarks.contender import Contender, ContenderError, Recipe, loaded
from benchmarks.peers.protocol import Ask
from benchmarks.prompts import Prompts
from benchmarks.work import Bench

PROBED = 3
"""Adapters, and prompts, of the check of answers."""
PROBE_TOKENS = 16
CHECKED = 4
"""Requests of each cell whose answers are compared with the reference's."""
WARM_TOKENS = 4


class Cell(NamedTuple):
    """What is measured at once."""

    requests: int
    adapters: int
    """Distinct ones that the requests take in turn; 0 is the base."""
    bare: bool = False
    """Of a contender that was started without any adapter."""

    @property
    def name(self) -> str:
        over = f"N={self.adapters}" if self.adapters else "bare" if self.bare else "N=0"
        return f"{self.requests} x {over}"


@dataclass(frozen=True)
class Throughput:
    """The cells, the model and its adapters."""

    model: Path
    adapters: list[Path]
    prompts: Prompts
    cells: Sequence[Cell]
    rounds: int
    prompt_tokens: int = 64
    new_tokens: int = 64
    pairs: Sequence[tuple[Cell, Cell]] = ()
    """A cell, and another that it is compared with: ours runs them as another, cell, cell, another, which a machine
    that becomes faster or slower in the meantime changes little."""
    pair_rounds: int = 0
    """How often, after the rounds of all."""
    alone: frozenset[str] = frozenset()
    """Contenders too large to stay loaded beside others: each has one round, after theirs, with nobody else there."""

    def requests(self, cell: Cell, number: int | str) -> list[Ask]:
        """Of round `number`; the same for every contender."""
        drawn = self.prompts.draw(cell.requests, self.prompt_tokens, f"{cell.name} {number}")
        return [Ask(prompt, index % cell.adapters if cell.adapters else None) for index, prompt in enumerate(drawn)]

    def measure(self, bench: Bench) -> dict[str, Any]:
        """What was found, raw.

        `rows`: one for each contender, cell and round; `pairs`: one for each pair and round; `contenders`: each one's
        versions and verdict; `absent`: why others did not take part; `cells`: names.
        """
        recipes, absent = roster.chosen(bench.cache, bench.contenders)
        truth = self._truth(bench)
        found: dict[str, Any] = {"rows": [], "pairs": [], "contenders": {}, "absent": absent}
        found["cells"] = [cell.name for cell in self.cells]
        together = [recipe for recipe in recipes if recipe.name not in self.alone]
        for group, rounds in [(together, self.rounds), *(([r], 1) for r in recipes if r.name in self.alone)]:
            with ExitStack() as stack:
                teams = self._ready(group, stack, truth, found, bench)
                for number in range(rounds):
                    found["rows"] += self._round(number, teams, truth, bench)
                for team in (team for team in teams if team.name == roster.OURS):
                    for number in range(self.pair_rounds):
                        found["pairs"] += self._paired(number, team, bench)
        return found

    def _ready(
        self, recipes: Sequence[Recipe], stack: ExitStack, truth: Truth, found: dict[str, Any], bench: Bench
    ) -> list[Team]:
        """Those that loaded, judged and warm; `found` is told of all of them."""
        teams: list[Team] = []
        for recipe in recipes:
            try:
                team = stack.enter_context(self._team(recipe, bench))
                verdict = self._judge(team, truth)
                for cell in self.cells:
                    team.of(cell).run(self.requests(cell, -1), WARM_TOKENS)
            except ContenderError as error:
                found["absent"][recipe.name] = str(error)
                bench.say(f"{recipe.name} is left out: {error}")
                continue
            found["contenders"][team.name] = team.loaded() | verdict._asdict()
            bench.say(f"{team.name}: agreement {verdict.agreement:.2f} {verdict.wrong and 'WRONG: ' + verdict.wrong}")
            teams.append(team)
        return teams

    def _round(self, number: int, teams: list[Team], truth: Truth, bench: Bench) -> Iterator[dict[str, Any]]:
        for cell in self.cells[:: 1 if number % 2 == 0 else -1]:
            requests = self.requests(cell, number)
            first = number % len(teams) if teams else 0
            for team in [*teams[first:], *teams[:first]]:
                load = os.getloadavg()[0]
                try:
                    run = team.of(cell).run(requests, self.new_tokens)
                except ContenderError as error:
                    bench.say(f"{team.name}, {cell.name}: {error}")
                    yield {"contender": team.name, "cell": cell.name, "round": number, "error": str(error)}
                    continue
                bench.say(f"round {number}, {cell.name}: {team.name} {run.rate:.1f} tokens/s")
                yield {
                    "contender": team.name,
                    "cell": cell.name,
                    "round": number,
                    "seconds": run.seconds,
                    "tokens": run.tokens,
                    "rate": run.rate,
                    "load": load,
                    "agreement": share(run.answers[:CHECKED], truth.cells[cell]) if number == 0 else None,
                }

    def _paired(self, number: int, team: Team, bench: Bench) -> Iterator[dict[str, Any]]:
        for cell, to in self.pairs:
            rates: dict[Cell, list[float]] = {cell: [], to: []}
            for turn, each in enumerate((to, cell, cell, to)):
                requests = self.requests(each, f"{number} {cell.name} {turn}")
                rates[each].append(team.of(each).run(requests, self.new_tokens).rate)
            bench.say(f"pair {number}, {cell.name} / {to.name}: {sum(rates[cell]) / sum(rates[to]):.3f}")
            yield {"cell": cell.name, "to": to.name, "round": number, "rates": rates[cell], "to_rates": rates[to]}

    def _judge(self, team: Team, truth: Truth) -> Verdict:
        probe = truth.probe
        alone = team.bare.run([Ask(prompt, None) for prompt in probe.prompts], PROBE_TOKENS)
        mixed = team.full.run(probe.requests(), PROBE_TOKENS)
        return probe.judge(mixed.answers, alone.answers, truth.answers)

    def _truth(self, bench: Bench) -> Truth:
        """What the float32 reference answers to the probe and to the first requests of each cell, one at a time."""
        probe = Probe(self.prompts.draw(PROBED, self.prompt_tokens, "probe"), min(PROBED, len(self.adapters)))
        (recipe,) = (recipe for recipe in roster.recipes(bench.cache) if recipe.name == roster.REFERENCE)
        bench.say("the reference answers")
        with loaded(recipe, self.model, self.adapters[:CHECKED], cache=bench.cache, logs=bench.logs) as reference:

            def answers(requests: list[Ask], tokens: int) -> list[list[int]]:
                return [reference.run([request], tokens).answers[0] for request in requests]

            cells = {cell: answers(self.requests(cell, 0)[:CHECKED], HEAD) for cell in self.cells}
            return Truth(probe, answers(probe.requests(), PROBE_TOKENS), cells)

    @contextmanager
    def _team(self, recipe: Recipe, bench: Bench) -> Iterator[Team]:
        bench.say(f"{recipe.name} loads")
        with ExitStack() as stack:

            def start(adapters: list[Path]) -> Contender:
                return stack.enter_context(loaded(recipe, self.model, adapters, cache=bench.cache, logs=bench.logs))

            full = start(self.adapters)
            bare = start([]) if any(cell.bare for cell in self.cells) else full
            yield Team(recipe.name, full, bare)


class Team(NamedTuple):
    """One contender, with its adapters and without."""

    name: str
    full: Contender
    bare: Contender
    """The same as `full` where no cell asks for a bare one."""

    def of(self, cell: Cell) -> Contender:
        return self.bare if cell.bare else self.full

    def loaded(self) -> dict[str, Any]:
        return {"versions": self.full.loaded["versions"], "load_seconds": self.full.loaded["seconds"]}


class Truth(NamedTuple):
    """The reference's answers."""

    probe: Probe
    answers: list[list[int]]
    """To the probe's requests."""
    cells: dict[Cell, list[list[int]]]
    """HEAD tokens of the first requests of round 0."""
