"""A table of contenders by cells, and its plot, from the rows of `Throughput.measure`."""

from __future__ import annotations

from statistics import median
from typing import Any, NamedTuple

from benchmarks.roster import OURS
from benchmarks.work import Curve, Plot


class Comparison(NamedTuple):
    """What `Throughput.measure` gave, read as medians."""

    found: dict[str, Any]

    def rate(self, contender: str, cell: str) -> float | None:
        """Median tokens a second over the rounds of all; None when none came to its end."""
        rates = [
            row["rate"]
            for row in self.found["rows"]
            if (row["contender"], row["cell"]) == (contender, cell) and "rate" in row
        ]
        return median(rates) if rates else None

    def ratio(self, contender: str, cell: str, to: str) -> float | None:
        """The median of each round's ratio of one cell to another; of ours, where they ran as a pair, of those."""
        pairs = [row for row in self.found.get("pairs", ()) if (row["cell"], row["to"]) == (cell, to)]
        if contender == OURS and pairs:
            return median(float(sum(row["rates"]) / sum(row["to_rates"])) for row in pairs)
        by_round: dict[int, dict[str, float]] = {}
        for row in self.found["rows"]:
            if row["contender"] == contender and row["cell"] in (cell, to) and "rate" in row:
                by_round.setdefault(row["round"], {})[row["cell"]] = row["rate"]
        ratios = [once[cell] / once[to] for once in by_round.values() if {cell, to} <= set(once)]
        return median(ratios) if ratios else None

    def best(self, cell: str) -> tuple[str, float] | None:
        """The fastest peer whose answers are right."""
        rates = {name: self.rate(name, cell) for name in self.found["contenders"] if name != OURS}
        right = {
            name: rate
            for name, rate in rates.items()
            if rate is not None and not self.found["contenders"][name]["wrong"]
        }
        return max(right.items(), key=lambda pair: pair[1], default=None)

    def lines(self) -> list[str]:
        """Markdown: tokens a second of each contender in each cell, then ours over the best peer that answers right."""
        cells = self.found["cells"]
        lines = [_row(["tokens/s", *cells, "answers"]), _row(["---", *["---:"] * len(cells), "---"])]
        for name, facts in self.found["contenders"].items():
            rates = [_number(self.rate(name, cell), ".1f") for cell in cells]
            answers = f"wrong answers: {facts['wrong']}" if facts["wrong"] else f"{facts['agreement']:.0%} as float32"
            lines.append(_row([f"**{name}**" if name == OURS else name, *rates, answers]))
        over = [self.over_best(cell) for cell in cells]
        lines.append(_row(["ours over the best peer", *[_number(value, ".2f") for value in over], ""]))
        lines += [f"- {name} did not take part: {reason}" for name, reason in self.found["absent"].items()]
        return [*lines, ""]

    def over_best(self, cell: str) -> float | None:
        ours, best = self.rate(OURS, cell), self.best(cell)
        return ours / best[1] if ours and best else None

    def over(self, peer: str, cell: str) -> float | None:
        """Ours over that one, which must answer right."""
        if peer not in self.found["contenders"] or self.found["contenders"][peer]["wrong"]:
            return None
        ours, theirs = self.rate(OURS, cell), self.rate(peer, cell)
        return ours / theirs if ours and theirs else None

    def kept(self, pairs: list[tuple[str, str]]) -> list[str]:
        """Markdown: for each contender, what a cell keeps of another's tokens a second."""
        heads = [f"{cell} / {to}" for cell, to in pairs]
        lines = [_row(["ratio", *heads]), _row(["---", *["---:"] * len(pairs)])]
        for name in self.found["contenders"]:
            lines.append(_row([name, *[_number(self.ratio(name, cell, to), ".2f") for cell, to in pairs]]))
        return [*lines, ""]

    def plot(self, cells: dict[str, float], x_label: str) -> Plot:
        """A line for each contender over `cells`, by where they stand on the x axis."""
        curves = []
        for name in self.found["contenders"]:
            points = [(x, self.rate(name, cell)) for cell, x in cells.items()]
            known = [(x, rate) for x, rate in points if rate is not None]
            label = f"{name} (wrong answers)" if self.found["contenders"][name]["wrong"] else name
            curves.append(Curve(label, [x for x, _ in known], [rate for _, rate in known]))
        return Plot(x_label, "tokens/s", curves)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, spec: str) -> str:
    return "" if value is None else format(value, spec)
