"""Tables, pictures and files say what the numbers say."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from hospital_gym.records import RECORD_DTYPE
from hospital_gym.scenarios import URBAN
from sb3_grpo.cli.chart import draw_comparison
from sb3_grpo.cli.options import Hospital
from sb3_grpo.cli.output import hospital_description, write_records
from sb3_grpo.cli.rules import attainable_rates
from sb3_grpo.cli.tables import Attainable, markdown_comparison, notes, print_comparison
from sb3_grpo.common.evaluation import EpisodeSet
from sb3_grpo.common.files import write_json
from sb3_grpo.fairness.inference import Comparison, compare_policies
from sb3_grpo.fairness.metrics import EpisodeTotals

GROUPS = ("pediatric", "adult", "elderly")


@pytest.fixture
def comparison() -> Comparison:
    """Policy "even" takes 0.2 from pediatric patients and gives nobody anything; elderly patients are too few."""
    noise = np.random.default_rng(0).uniform(-0.05, 0.05, (20, 3))
    demand, counted = np.full((20, 3), 10.0), np.full((20, 3), 10)
    counted[:, 2] = 1
    base = EpisodeTotals(demand, demand * (np.array([0.8, 0.5, 0.7]) + noise), counted)
    even = EpisodeTotals(demand, demand * (np.array([0.6, 0.5, 0.7]) + noise), counted)
    costs = {"base": np.zeros(20), "even": np.zeros(20)}
    return compare_policies({"base": base, "even": even}, costs, GROUPS, np.random.default_rng(0), "base", n_resamples=199)


def printed(comparison: Comparison, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    attainable: Attainable = {"pediatric": {"rate": 0.987, "policy": "x"}, "elderly": {"rate": None, "policy": "x"}}
    print_comparison(console, comparison, attainable, {"base": "Base Policy"}, "The Title")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_holds_every_number(comparison: Comparison, width: int) -> None:
    """On a narrow terminal there are two tables, but nothing is lost and no line is longer than the terminal."""
    text = printed(comparison, width)
    assert all(len(line) <= width for line in text.splitlines())
    base, even = comparison["base"], comparison["even"]
    assert even.paired is not None
    for estimate in (*base.rates[:2], base.worst, base.gap, base.efficiency, *even.rates[:2], even.gap):
        assert f" {estimate.value:.3f}" in text
        assert f"{estimate.low:.3f}…{estimate.high:.3f}".replace("0.", ".") in text
    assert f"{even.paired.gap.value:+.3f}" in text
    assert text.count("The Title") == 1 and "Base Policy" in text and "0.987" in text
    assert text.count("policy  ") == (2 if width == 80 else 1)


def test_notes_name_what_needs_attention(comparison: Comparison) -> None:
    lines = notes(comparison, {"even": "Even"})
    assert "elderly: insufficient (n=20): no rate, enters neither worst nor gap." in lines
    assert any(line.startswith("Even LEVELS DOWN") for line in lines)
    harmless = replace(comparison, policies=comparison.policies[:1])
    assert not any("LEVELS DOWN" in line for line in notes(harmless, {}))


def test_markdown_rows_match_the_header(comparison: Comparison) -> None:
    text = markdown_comparison(comparison, {"adult": {"rate": 0.75, "policy": "x"}}, {})
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert [len(table) for table in tables] == [
        5,
        3,
    ]  # header, rule, two policies and attainable; header, rule, one difference
    assert all(line.count("|") == 8 for table in tables for line in table)
    assert f"| {comparison['even'].gap.value:.3f} (" in tables[0][3] and "| 0.750 |" in tables[0][4]


def test_picture_is_written(comparison: Comparison, tmp_path: Path) -> None:
    draw_comparison(tmp_path / "a.png", comparison, {}, "Title")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def make_episodes(benefits: list[float]) -> EpisodeSet:
    """One episode with 30 counted patients of demand 1 per group, who all get the same benefit."""
    records = np.zeros(30 * len(benefits), dtype=RECORD_DTYPE)
    records["group"], records["benefit"] = np.repeat(np.arange(len(benefits)), 30), np.repeat(benefits, 30)
    records["demand"], records["counted"], records["bed"], records["service_time"] = 1.0, True, -1, np.nan
    return EpisodeSet(records, np.zeros(1), np.ones(1, dtype=np.int64), np.zeros(1, dtype=np.int64), GROUPS[: len(benefits)])


def test_attainable_is_each_groups_best() -> None:
    best = attainable_rates({"a": make_episodes([0.25, 0.5]), "b": make_episodes([0.5, 0.25])})
    assert best == {"pediatric": {"rate": 0.5, "policy": "b"}, "adult": {"rate": 0.5, "policy": "a"}}


def test_records_are_written_in_words(tmp_path: Path) -> None:
    write_records(tmp_path / "records.csv", {"a": make_episodes([0.25]), "b": make_episodes([0.5, 0.75])})
    with (tmp_path / "records.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["policy"] for row in rows] == ["a"] * 30 + ["b"] * 60
    assert set(rows[0]) == {"policy", *(RECORD_DTYPE.names or ())}
    last = rows[-1]
    assert (last["group"], last["sex"], last["bed"], last["outcome"]) == ("adult", "female", "none", "treated-success")
    assert (last["benefit"], last["counted"], last["service_time"]) == ("0.75", "True", "nan")


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_hospital_description_is_json_and_notices_every_change(tmp_path: Path) -> None:
    arrivals = tmp_path / "arrivals.csv"
    arrivals.write_text("arrival_time\n1\n")
    plain = Hospital("Urban", "Hospital-Urban-v0", URBAN, None, None)
    hospitals = [plain, replace(plain, scenario=replace(URBAN, requests_per_day=28.6)), replace(plain, arrivals=str(arrivals))]
    texts = [json.dumps(hospital_description(hospital), allow_nan=False) for hospital in hospitals]
    arrivals.write_text("arrival_time\n2\n")
    texts.append(json.dumps(hospital_description(hospitals[2]), allow_nan=False))
    assert len(set(texts)) == 4
