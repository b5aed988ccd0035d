"""Pictures as SVG that stands in the page: no script, and colours from the page's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from adapterhub.report.report import Point
from adapterhub.report.scale import Scale

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 34
ROW, LABELS, FIGURES = 30, 190, 90
"""Of bars: the height of one, the width of their labels and of their figures."""
MOST_POINTS = 600
"""Of a line: more could not be told apart."""
MOST_DOTS = 40
"""Of a line: the others of more show when they are pointed at."""
SMOOTHED_FROM = 40
"""Steps from which a running mean is drawn over the losses."""


def loss_curves(training: Sequence[Point], validation: Sequence[Point], best_step: int | None) -> Markup:
    """Losses over the steps; each point tells its figure when it is pointed at."""
    losses = [point.loss for point in (*training, *validation)]
    steps = [point.step for point in (*training, *validation)]
    if not losses:
        return Markup()
    x, y = Scale.over(0, max(steps), wanted=8, whole=True), Scale.over(min(losses), max(losses))
    x = x._replace(high=float(max(*steps, 1)), ticks=tuple(tick for tick in x.ticks if tick <= max(steps)))
    parts = [*_grid(x, y)]
    if training:
        smooth = len(training) >= SMOOTHED_FROM
        parts.append(_line(_thinned(training), x, y, f"training{' raw' if smooth else ''}"))
        if smooth:
            parts.append(_line(_thinned(_means(training)), x, y, "training"))
    if len(validation) > 1:
        parts.append(_line(validation, x, y, "validation"))
    if len(training) <= MOST_POINTS:
        quiet = " quiet" if len(training) > MOST_DOTS else ""
        parts += [_dot(point, x, y, "training", quiet) for point in training]
    parts += [_dot(point, x, y, "validation", " best" if point.step == best_step else "") for point in validation]
    label = Markup('<text class="axis" x="{}" y="{}" text-anchor="end">step</text>').format(WIDTH - RIGHT, HEIGHT - 4)
    return _svg("loss-curves", "Training and validation loss over the steps", [*parts, label])


def bars(values: Sequence[tuple[str, float, str]], title: str) -> Markup:
    """A bar for each (label, value from 0 up, how it is written)."""
    high = max((value for _, value, _ in values), default=0) or 1
    room = WIDTH - LABELS - FIGURES
    parts = [_bar(label, text, index, room * value / high) for index, (label, value, text) in enumerate(values)]
    return _svg("bars", title, parts, height=ROW * len(values))


def _bar(label: str, text: str, index: int, width: float) -> Markup:
    middle = ROW * index + ROW / 2
    return Markup(
        '<text x="0" y="{y:.1f}" dominant-baseline="central">{label}</text>'
        '<rect class="bar" x="{left}" y="{top:.1f}" width="{width:.1f}" height="16" rx="3"/>'
        '<text class="figure" x="{end:.1f}" y="{y:.1f}" dominant-baseline="central">{text}</text>'
    ).format(y=middle, label=label, left=LABELS, top=middle - 8, width=width, end=LABELS + width + 8, text=text)


def _svg(name: str, title: str, parts: Sequence[Markup], *, height: int = HEIGHT) -> Markup:
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>').format(
        name, WIDTH, height, title, Markup().join(parts)
    )


def _grid(x: Scale, y: Scale) -> Iterator[Markup]:
    for tick in y.ticks:
        yield Markup(
            '<line class="grid" x1="{}" x2="{}" y1="{at:.1f}" y2="{at:.1f}"/>'
            '<text class="axis" x="{}" y="{at:.1f}" text-anchor="end" dominant-baseline="central">{:g}</text>'
        ).format(LEFT, WIDTH - RIGHT, LEFT - 8, tick, at=_y(tick, y))
    for tick in x.ticks:
        yield Markup('<text class="axis" x="{:.1f}" y="{}" text-anchor="middle">{:g}</text>').format(
            _x(tick, x), HEIGHT - BOTTOM + 18, tick
        )


def _line(points: Sequence[Point], x: Scale, y: Scale, name: str) -> Markup:
    places = " ".join(f"{_x(point.step, x):.1f},{_y(point.loss, y):.1f}" for point in points)
    return Markup('<polyline class="line {}" points="{}"/>').format(name, places)


def _dot(point: Point, x: Scale, y: Scale, name: str, kind: str) -> Markup:
    """A point and, around it, room to point at."""
    best = kind == " best"
    said = f"{name}, step {point.step}: {point.loss:.4f}{', kept' if best else ''}"
    return Markup(
        '<g class="dot {}"><title>{}</title><circle class="reach" cx="{x:.1f}" cy="{y:.1f}" r="9"/>'
        '<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="{}"/></g>'
    ).format(name + kind, said, 5 if best else 3, x=_x(point.step, x), y=_y(point.loss, y))


def _means(points: Sequence[Point]) -> list[Point]:
    """The running mean over a twentieth of them."""
    width = max(2, len(points) // 20)
    found, total = [], 0.0
    for index, point in enumerate(points):
        total += point.loss - (points[index - width].loss if index >= width else 0.0)
        found.append(Point(step=point.step, loss=total / min(index + 1, width)))
    return found


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """Every n-th, and the last."""
    every = -(-len(points) // MOST_POINTS)
    return points if every == 1 else [*points[::every], points[-1]]


def _x(step: float, x: Scale) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * x.place(step)


def _y(loss: float, y: Scale) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y.place(loss)
