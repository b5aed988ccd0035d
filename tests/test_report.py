"""A run's report: all its facts, in one page that runs nothing and asks for nothing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from reports import ATTACK, full_report

from adapterhub.cli.main import cli
from adapterhub.errors import ConfigError, InvalidInputError, UnavailableError
from adapterhub.report import HTML_FILE, JSON_FILE, Report, read_report, write_report
from adapterhub.report.page import byte_text, render
from adapterhub.report.report import Point
from adapterhub.report.scale import Scale
from adapterhub.store import Store


class Tags(HTMLParser):
    """The tags of a page, and whether each that is opened is closed."""

    VOID = ("meta",)

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def bare_report() -> Report:
    """Of a run that held nothing out and asked nothing."""
    return Report(
        method="ia3",
        objective="cpt",
        base="b",
        base_digest="",
        quantization="none",
        steps=1,
        tokens=10,
        seconds=0.0,
        training_losses=(Point(step=1, loss=2.0),),
    )


def test_what_users_and_models_wrote_is_text_and_never_a_tag() -> None:
    page = render(full_report())
    tags = Tags(page)
    assert {name for name, _ in tags.seen} & {"script", "img", "iframe", "link", "object", "a"} == set()
    assert not [key for _, attributes in tags.seen for key in attributes if key.startswith("on")]
    assert tags.text.count(ATTACK) == 4
    policies = [attributes["content"] for _, attributes in tags.seen if "http-equiv" in attributes]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert not re.search(r"https?://|url\(|@import", page)


def test_every_part_of_a_full_report_is_there_and_nothing_empty_of_a_bare_one() -> None:
    full, bare = Tags(render(full_report())), Tags(render(bare_report()))
    ids = [attributes["id"] for name, attributes in full.seen if name == "section"]
    assert ids == ["losses", "evaluation", "forgetting", "samples", "facts"]
    assert [attributes["id"] for name, attributes in bare.seen if name == "section"] == ["losses", "facts"]
    for text in ("86.0 (79.0 to 92.0)", "3.871", "+0.333", "19.6 MB", "1.8 GB", "4,884,480", "kept from step 120"):
        assert text in full.text


def test_the_curves_hold_every_loss_until_they_are_too_many() -> None:
    def dots(page: str) -> list[str]:
        return re.findall(r"<title>(\w+, step \d+: [\d.]+(?:, kept)?)</title>", page)

    found = dots(render(full_report(steps=30)))
    assert len([each for each in found if each.startswith("training")]) == 30
    assert [each for each in found if each.endswith("kept")] == [found[-1]]
    long = render(full_report(steps=5000))
    assert len(long) < 120_000
    assert not [each for each in dots(long) if each.startswith("training")]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.0, 2.0), (0.4312, 5.9), (1e-7, 3e-7), (0, 0), (90, 12345)])
def test_axes_have_few_round_ticks_around_all_values(low: float, high: float) -> None:
    scale = Scale.over(low, high)
    assert scale.low <= low <= high <= scale.high
    assert 2 <= len(scale.ticks) <= 8
    assert scale.place(scale.low) == 0
    assert scale.place(scale.high) == 1


def test_bytes_are_told_in_the_unit_that_fits() -> None:
    assert [byte_text(count) for count in (0, 999, 1500, 19_569_672, 3_200_000_000)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "19.6 MB",
        "3.2 GB",
    ]


def test_what_is_written_is_read_back_the_same_and_nothing_else_is_left(tmp_path: Path) -> None:
    report = full_report()
    assert write_report(report, tmp_path / "run") == tmp_path / "run" / HTML_FILE
    assert read_report(tmp_path / "run") == report
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [HTML_FILE, JSON_FILE]


def test_a_folder_that_cannot_be_written_or_holds_no_report_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="file: the report cannot be written: File exists"):
        write_report(bare_report(), tmp_path / "file")
    with pytest.raises(
        InvalidInputError, match=r"report\.json: No such file or directory; the folder of a finished run"
    ):
        read_report(tmp_path)
    for text, error in (("[1]", InvalidInputError), ("{", InvalidInputError), ('{"mehtod": 1}', ConfigError)):
        (tmp_path / JSON_FILE).write_text(text)
        with pytest.raises(error, match=r"report\.json"):
            read_report(tmp_path)


@pytest.fixture
def folder(tiny_base: Path, tmp_path: Path) -> Path:
    """The folder of a real run."""
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"{n}? {ATTACK}", "completion": ATTACK}) + "\n" for n in range(12)))
    words = ["--name", "orders", "--base", str(tiny_base), "--data", str(data), "--max-steps", "2", "--seed", "4"]
    done = run("train", *words, "--run-folder", str(tmp_path / "run"))
    assert done.exit_code == 0, done.output
    return tmp_path / "run"


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def test_a_run_leaves_its_report_with_its_own_figures(folder: Path) -> None:
    report = read_report(folder)
    adapter = Store.default().resolve("orders")
    assert adapter.provenance is not None
    assert (report.name, report.digest) == ("orders:latest", adapter.digest)
    assert [point.step for point in report.training_losses] == [1, 2]
    assert report.validation_losses[0].loss == adapter.provenance.evaluations["validation_loss_before"]
    assert report.validation_losses[-1].loss == adapter.provenance.evaluations["validation_loss_after"]
    assert report.general is not None
    assert report.general.adapter == adapter.provenance.forgetting["general_loss_adapter"]
    assert (report.parameters, report.adapter_bytes > 4 * report.parameters) == (adapter.num_parameters, True)
    assert report.settings["seed"] == 4
    assert [sample.expected for sample in report.samples] == [ATTACK]
    assert str(folder.parent.parent) not in (folder / JSON_FILE).read_text()
    assert ATTACK in Tags((folder / HTML_FILE).read_text()).text


def test_an_evaluation_goes_into_the_report_later(folder: Path) -> None:
    assert read_report(folder).evaluation is None
    found = {"metrics": ["exact_match"], "rows": [{"label": "base, zero-shot", "scores": {"exact_match": 0.25}}]}
    (folder / "eval.json").write_text(json.dumps(found))
    done = run("report", str(folder), "--evaluation", str(folder / "eval.json"))
    assert (done.exit_code, done.stdout) == (0, f"{folder / HTML_FILE}\n")
    assert "base, zero-shot" in (folder / HTML_FILE).read_text()
    assert read_report(folder).evaluation == found
    for text in ("{}", "[]", "{"):
        (folder / "eval.json").write_text(text)
        done = run("report", str(folder), "--evaluation", str(folder / "eval.json"))
        assert done.exit_code == 2
        assert done.stderr.endswith("eval.json: not what `adapterhub eval --json` prints\n")
