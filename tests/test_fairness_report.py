"""What a report says, and what it does with names, numbers and gaps that it did not expect."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from stable_baselines3 import PPO

from hospital_gym.heuristics import HEURISTICS
from hospital_gym.hospital_env import HospitalEnv
from hospital_gym.records import OUTCOMES
from hospital_gym.scenarios import RURAL
from sb3_grpo.common.evaluation import EpisodeSet, evaluate_episodes
from sb3_grpo.fairness.accumulate import accumulate
from sb3_grpo.fairness.evaluate import evaluate_policies
from sb3_grpo.fairness.evaluation_data import REWARD_PER_EXPOSURE, Evaluation, EvaluationSet
from sb3_grpo.fairness.inference.bands import PairedBands
from sb3_grpo.fairness.inference.results import Interval
from sb3_grpo.fairness.metrics import EpisodeTotals
from sb3_grpo.fairness.metrics.individual import individual_fairness
from sb3_grpo.fairness.records import to_frame
from sb3_grpo.fairness.report import FairnessReport, default_levers, event_log, figures, paired_counterfactuals
from sb3_grpo.fairness.report.decision import verdict
from sb3_grpo.fairness.report.document import COLUMNS
from sb3_grpo.fairness.report.recommendations import MOST, longest_waits
from sb3_grpo.fairness.report.waits import wait_curves
from sb3_grpo.fairness.report.wording import MINUS, Scale, listing, number, plain, shortened, signed

# A small hospital for a short time: an episode takes milliseconds.
HOSPITAL = replace(RURAL, burn_in_hours=24.0, horizon_hours=240.0, counted_tail=24.0)
EPISODES = 24
SEED = 3

RENAMED = ("<script>alert(1)</script>", 'a "quoted" & $odd$ name', "%{x}</style>", "<b>bold</b>")


def make() -> gym.Env:
    return HospitalEnv(HOSPITAL)


def play(rule: str, n_episodes: int = EPISODES) -> EpisodeSet:
    return evaluate_episodes(HEURISTICS[rule](make()), make, n_episodes, SEED)


@pytest.fixture(scope="module")
def played() -> dict[str, EpisodeSet]:
    return {rule: play(rule) for rule in ("first-come", "triage", "c-mu")}


@pytest.fixture(scope="module")
def report(played: dict[str, EpisodeSet]) -> FairnessReport:
    return FairnessReport(played, reference="first-come", scenario=HOSPITAL)


class Outline(HTMLParser):
    """Tags of a page in order, and the text of its tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self._open = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th", "caption"):
            self.cells.append("")
        self._open = self._open or tag in ("td", "th", "caption")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "caption"):
            self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.cells[-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def without_scripts(page: str) -> str:
    """A page less the library of charts, which is long."""
    return re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)


def interval(value: float, half: float = 0.01) -> Interval:
    return Interval(value, value - half, value + half, "episode", 30, "by hand")


def paired(rates: tuple[float, ...], worst: float, gap: float) -> PairedBands:
    zero = interval(0.0)
    names = tuple("abcdef"[: len(rates)])
    return PairedBands(names, tuple(map(interval, rates)), interval(worst), zero, interval(gap), zero, interval(1.0))


@pytest.mark.parametrize(
    ("rates", "worst", "gap", "kind"),
    [
        ((0.0, 0.05), 0.05, -0.05, "better"),
        ((-0.05, 0.05), 0.05, -0.05, "better"),  # the better-off pay for it, but somebody gains
        ((-0.05, 0.0), 0.0, -0.05, "levelling down"),
        ((-0.05, -0.02), -0.02, -0.03, "levelling down"),
        ((-0.05, 0.0), -0.05, 0.05, "worse"),
        ((0.0, 0.005), 0.005, -0.005, "no difference shown"),
        ((0.0, 0.0), 0.0, -0.05, "no difference shown"),  # nobody is shown to have lost
    ],
)
def test_verdicts(rates: tuple[float, ...], worst: float, gap: float, kind: str) -> None:
    conclusion = verdict(paired(rates, worst, gap))
    assert conclusion.kind == kind
    assert conclusion.lost == tuple(name for name, rate in zip("abcdef", rates, strict=False) if rate < -0.01)
    assert conclusion.gained == tuple(name for name, rate in zip("abcdef", rates, strict=False) if rate > 0.01)


def test_the_decision_is_one_sentence_with_intervals(report: FairnessReport) -> None:
    setting = report.findings.setting
    assert (setting.subject, setting.reference) == ("triage", "first-come")
    assert report.decision.endswith(".") and report.decision.count(". ") == 0
    for word in ("triage", "first-come", "worst-off group", "gap", "efficiency", "95 %"):
        assert word in report.decision
    assert len(re.findall(r"\([^()]* to [^()]*\)", report.decision)) == 3
    assert FairnessReport({"triage": report.evaluations["triage"]}).decision.endswith("it was compared with no other policy.")


def test_equal_policies_show_no_difference(played: dict[str, EpisodeSet]) -> None:
    report = FairnessReport({"one": played["triage"], "other": played["triage"]})
    assert report.decision.startswith("No difference shown")
    assert all(test.p_value == 1.0 and test.adjusted == 1.0 for test in report.findings.tests)


def test_levelling_down_is_said(played: dict[str, EpisodeSet]) -> None:
    """A policy that only takes: groups that are well apart fall half-way to the worst-off one, which keeps what it had."""
    records = played["triage"].records.copy()
    records["benefit"] *= np.array([1.0, 0.9, 0.8, 0.6])[records["group"]]
    before = replace(played["triage"], records=records)
    totals = before.totals()
    rates = totals.benefit.sum(axis=0) / totals.demand.sum(axis=0)
    fewer = records.copy()
    fewer["benefit"] *= ((rates + rates.min()) / (2 * rates))[fewer["group"]]
    report = FairnessReport({"before": before, "after": replace(before, records=fewer)})
    assert report.decision.startswith("Levelling down: after narrows the gap")
    assert "at the expense of pediatric, adult and elderly, while no gain is shown" in report.decision
    assert "this is levelling down" in without_scripts(report.to_html())
    assert report.to_dict()["policies"]["after"]["against_reference"]["conclusion"] == "levelling down"


def test_the_page_has_every_part(report: FairnessReport) -> None:
    page = without_scripts(report.to_html())
    outline = Outline(page)
    headings = [(int(tag[1]), attributes.get("id")) for tag, attributes in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0][0] == 1 and [level for level, _ in headings].count(1) == 1
    assert all(after - before <= 1 for (before, _), (after, _) in pairwise(headings))
    assert [name for level, name in headings if level == 2] == [
        "next", "groups", "changes", "front", "waits", "resources", "tests", "method"
    ]  # fmt: skip
    assert outline.of("html") == [{"lang": "en"}]
    assert outline.of("a")[0] == {"class": "skip", "href": "#main"}
    names = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(set(names)) == len(names)
    links = {str(a["href"]) for a in outline.of("a")}
    assert {link.removeprefix("#") for link in links} <= set(names)


def test_tables_and_charts_can_be_read_without_seeing_them(report: FairnessReport) -> None:
    page = without_scripts(report.to_html())
    outline = Outline(page)
    tables, captions = len(outline.of("table")), len(outline.of("caption"))
    assert tables == captions > 5
    assert {header.get("scope") for header in outline.of("th")} == {"col", "row"}
    frames = [div for div in outline.of("div") if div.get("class") == "scroll"]
    assert len(frames) == tables and all(frame["tabindex"] == "0" and frame["aria-labelledby"] for frame in frames)
    charts = [div for div in outline.of("div") if div.get("class") == "chart"]
    assert len(charts) >= 4 + len(report.findings.group_names) - 1
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    assert page.count("<figure>") == page.count("<figcaption>") > 3
    assert f"n = {EPISODES}" in " ".join(outline.cells) and "Unit: the episode" in " ".join(outline.cells)


def test_the_page_loads_nothing(report: FairnessReport) -> None:
    page = report.to_html()
    outline = Outline(without_scripts(page))
    assert not any("src" in attributes for _, attributes in outline.tags)
    assert all(str(link["href"]).startswith(("#", "data:")) for link in outline.of("a") + outline.of("link"))
    policy = next(str(meta["content"]) for meta in outline.of("meta") if meta.get("http-equiv"))
    assert "default-src 'none'" in policy and policy.count("'sha256-") == 2 and "script-src 'unsafe" not in policy
    assert page.count("plotly.js v") == 1
    assert report.to_html() == page


def test_names_from_the_data_stay_text(played: dict[str, EpisodeSet], tmp_path: Path) -> None:
    renamed = {f"{name} <img src=x onerror=alert(2)> </script>": replace(e, group_names=RENAMED) for name, e in played.items()}
    report = FairnessReport(renamed, title="</title><script>alert(3)</script>", facts={"<i>": "<u>"})
    page = report.to_html()
    outline = Outline(without_scripts(page))
    for tag in ("img", "b", "i", "u"):
        assert outline.of(tag) == []
    scripts = re.findall(r"<script([^>]*)>", page)
    assert [s for s in scripts if "json" not in s] == ["", ""]  # the library and the page's own, no others
    charts = re.findall(r'<script type="application/json" data-chart="[^"]*">(.*?)</script>', page, flags=re.DOTALL)
    assert len(charts) == len(scripts) - 2
    assert all("<" not in chart and json.loads(chart)["data"] for chart in charts)
    assert all("<script>alert" not in json.dumps(json.loads(chart)) for chart in charts)  # plotly reads some HTML itself
    assert RENAMED[0] in outline.cells and RENAMED[1] in outline.cells
    report.to_png(tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_json_round_trip(report: FairnessReport, tmp_path: Path) -> None:
    text = report.to_json(tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert content == json.loads(text) == report.to_dict()
    assert (content["schema"], content["version"]) == ("sb3_grpo fairness report", 1)
    assert content["unit"] == {"name": "episode", "n": EPISODES}
    found = report.findings
    for name, policy in found.policies.items():
        assert content["policies"][name]["worst"]["value"] == policy.bands.worst.value
        assert content["policies"][name]["worst"]["group"] == policy.bands.worst_group
    assert content["policies"]["first-come"]["against_reference"] is None
    assert len(content["tests"]) == 2 * (len(found.group_names) + 1)


def test_the_tidy_table_holds_every_number_of_the_page(report: FairnessReport, played: dict[str, EpisodeSet]) -> None:
    table = report.to_frame()
    assert tuple(table.columns) == COLUMNS
    assert not table.duplicated(["policy", "reference", "group", "quantity"]).any()
    rates = table[(table["policy"] == "triage") & (table["quantity"] == "rate")].set_index("group")
    bands = report.findings.policies["triage"].bands
    assert rates["low"].tolist() == [rate.low for rate in bands.rates]
    assert (rates["unit"] == "episode").all() and (rates["units"] == EPISODES).all()
    totals = played["triage"].totals()
    np.testing.assert_allclose(rates["value"], totals.benefit.sum(axis=0) / totals.demand.sum(axis=0))
    assert set(table.loc[table["quantity"] == "change of gap", "reference"]) == {"first-come"}


def test_a_tiny_group_reads_insufficient(played: dict[str, EpisodeSet]) -> None:
    """Three patients of one group and none of another are left."""

    def thinned(episodes: EpisodeSet) -> EpisodeSet:
        records = episodes.records.copy()
        few = np.flatnonzero((records["group"] == 0) & records["counted"])[3:]
        records["counted"][few] = False
        records["counted"][records["group"] == 2] = False
        return replace(episodes, records=records)

    report = FairnessReport({name: thinned(episodes) for name, episodes in played.items()}, scenario=HOSPITAL)
    assert report.findings.subject.bands.insufficient == ("pediatric", "elderly")
    cells = Outline(without_scripts(report.to_html())).cells
    assert "insufficient (n=3)" in cells and "insufficient (n=0)" in cells
    assert any(item.about == "Too few patients" for item in report.contents.recommendations)
    assert report.to_dict()["policies"]["triage"]["rates"]["pediatric"]["value"] is None
    console = Console(width=140)
    with console.capture() as capture:
        console.print(report)
    assert "insufficient" in capture.get() and "\N{MINUS SIGN}" in capture.get()


def test_nothing_to_say_is_said(played: dict[str, EpisodeSet]) -> None:
    """All groups too small, and one episode only: no intervals, no tests, and a page all the same."""
    records = played["triage"].records.copy()
    records["counted"] = False
    empty = replace(played["triage"], records=records)
    report = FairnessReport({"triage": empty})
    assert report.decision == "Nothing can be said about triage: every group has too few patients."
    assert "insufficient (n=0)" in without_scripts(report.to_html())
    one = FairnessReport({rule: play(rule, 1) for rule in ("first-come", "triage")})
    page = without_scripts(one.to_html())
    assert "no interval: one episode" in page and one.findings.tests == ()
    assert one.to_json()


def test_another_grouping_and_another_rate(played: dict[str, EpisodeSet]) -> None:
    report = FairnessReport({"triage": played["triage"]}, by=("sex", "quintile"), rate="in_time")
    assert report.findings.group_names[:2] == ("female-q1", "female-q2") and len(report.findings.group_names) == 10
    frame = to_frame(played["triage"])
    chosen = frame[frame["counted"] & (frame["sex"] == "male") & (frame["quintile"] == "q5")]
    treated = chosen["outcome"].isin(["treated-success", "treated-failure", "in-treatment", "transferred"])
    expected = (treated & (chosen["wait"] <= chosen["target_wait"])).mean()
    rate = report.findings.policies["triage"].bands.rates[-1].value
    assert rate == pytest.approx(expected) or (np.isnan(rate) and len(chosen) < 30)
    assert "share in time" in report.decision


def test_a_log_without_a_simulator() -> None:
    """A table with an own grouping, yes/no outcomes and weeks as episodes; nothing about costs, beds or demand."""
    rng = np.random.default_rng(0)
    ward = rng.choice(["north", "south"], 600)
    treated = rng.random(600) < np.where(ward == "north", 0.9, 0.7)
    wait = rng.exponential(5.0, 600)
    frame = pd.DataFrame({"episode": rng.integers(0, 12, 600), "ward": ward, "treated": treated, "wait": wait})
    report = FairnessReport({"our hospital": frame}, by="ward", rate="treated")
    assert report.findings.subject.bands.worst_group == "south"
    rates = {
        name: rate.value for name, rate in zip(report.findings.group_names, report.findings.subject.bands.rates, strict=True)
    }
    assert rates == {name: pytest.approx(treated[ward == name].mean()) for name in ("north", "south")}
    page = without_scripts(report.to_html())
    assert "share treated" in page and "Waiting" in page
    with pytest.raises(ValueError, match="no simulated episodes"):
        report.event_log("/dev/null")
    with pytest.raises(ValueError, match=r"benefit_rate.*lack"):
        FairnessReport({"our hospital": frame}, by="ward")


def test_any_environment_without_records() -> None:
    """Rewards per exposure may be negative and have no bounds: no per cent, no clipping, nothing about patients."""
    rng = np.random.default_rng(1)
    exposure = np.full((25, 2), 10.0)

    def one(name: str, level: float) -> Evaluation:
        reward = exposure * (np.array([-3.0, level]) + 0.1 * rng.normal(size=(25, 2)))
        totals = EpisodeTotals(exposure, reward, np.full((25, 2), 10))
        whole = np.full(25, 20)
        return Evaluation(
            name, "function", "f", ("left", "right"), totals, np.zeros(25), reward.sum(axis=1), whole, 0 * whole, None
        )

    evaluations = EvaluationSet((one("a", 1.0), one("b", 40.0)), "a", REWARD_PER_EXPOSURE, "CartPole-v1", 0, 1, True)
    report = FairnessReport(evaluations)
    bands = report.findings.subject.bands
    assert report.findings.setting.subject == "b"
    assert bands.worst.value == pytest.approx(-3.0, abs=0.2) and bands.worst.low < -2.9
    assert bands.best.high > 39.9
    page = without_scripts(report.to_html())
    assert "reward per exposure" in page and "points" not in report.decision and "Waiting" not in page
    assert report.to_dict()["policies"]["b"]["metrics"] is None


def test_different_demand_is_not_compared(played: dict[str, EpisodeSet]) -> None:
    other = evaluate_episodes(HEURISTICS["triage"](make()), make, EPISODES, SEED + 1)
    report = FairnessReport({"first-come": played["first-come"], "triage": other})
    assert report.findings.subject.paired is None and report.findings.tests == ()
    assert "did not meet the same demand as first-come" in report.decision


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": "x"}, "reference: got 'x'"),
        ({"subject": "x"}, "subject: got 'x'"),
        ({"rate": "left"}, "rate: got 'left'"),
        ({"by": "shoe"}, "shoe"),
        ({"training": {"run": "model.zip"}}, r"training\['run'\]: got 'model.zip'"),
    ],
)
def test_bad_arguments_are_named(played: dict[str, EpisodeSet], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FairnessReport(played, **options)


def test_no_policy_and_other_episodes_are_refused(played: dict[str, EpisodeSet]) -> None:
    with pytest.raises(ValueError, match="got no policy"):
        FairnessReport({})
    with pytest.raises(ValueError, match=rf"got 2 episodes .* expected {EPISODES}"):
        FairnessReport({"triage": played["triage"], "short": play("triage", 2)})


def test_events_are_those_of_the_records(played: dict[str, EpisodeSet], report: FairnessReport, tmp_path: Path) -> None:
    report.event_log(tmp_path / "events.csv", "c-mu")
    log = pd.read_csv(tmp_path / "events.csv", keep_default_na=False)
    assert list(log.columns) == ["episode", "entity", "event", "time", "resource", "group", "counted"]
    pd.testing.assert_frame_equal(log, event_log(played["c-mu"]), check_dtype=False)
    records = played["c-mu"].records
    outcome = np.array(OUTCOMES)[records["outcome"]]
    counts = log["event"].value_counts().to_dict()
    expected = {
        "arrival": len(records),
        "admission": int((records["bed"] >= 0).sum()),
        "discharge": int(np.isin(outcome, ("treated-success", "treated-failure")).sum()),
        "left": int((outcome == "left").sum()),
        "died": int((outcome == "died-waiting").sum()),
        "transferred": int((outcome == "transferred").sum()),
    }
    assert counts == {event: n for event, n in expected.items() if n}
    assert (log.groupby("episode")["time"].diff().dropna() >= 0).all()
    patients = log.groupby(["episode", "entity"])["event"].agg(list)
    assert patients.str[0].eq("arrival").all()
    known = [["arrival"], ["arrival", "admission"], ["arrival", "admission", "discharge"]]
    known += [["arrival", end] for end in ("left", "died", "transferred")]
    assert all(events in known for events in patients)
    stays = log[log["event"] == "admission"].merge(log[log["event"] == "discharge"], on=["episode", "entity"])
    assert (stays["resource_x"] == stays["resource_y"]).all() and (stays["time_y"] > stays["time_x"]).all()
    assert (log.loc[log["event"] == "discharge", "time"] <= HOSPITAL.horizon_hours).all()


def test_wait_curves_by_hand() -> None:
    """Five patients, treated after 1 h, 2 h, 4 h, left after 3 h, still waiting after 2.5 h: survival 1 - incidence.

    At 1 h 1/5 are treated. At 2 h a quarter of the 4/5 left: 2/5. At 2.5 h one is censored: two at risk stand for 3/5.
    At 3 h one leaves: untreated for good. At 4 h the last one, who stands for 3/10.
    """
    waits = [1.0, 2.0, 4.0, 3.0, 2.5]
    outcomes = ["treated-success", "treated-success", "in-treatment", "left", "still-waiting"]
    frame = pd.DataFrame({"episode": 0, "group": "all", "wait": waits, "outcome": outcomes})
    source = FairnessReport({"log": frame}, rate="treated")._sources["log"]
    assert source.counts is not None
    curve = wait_curves(source.counts, min_patients=1)["all"]
    np.testing.assert_allclose([curve.at(hour) for hour in (0, 1, 2, 3, 4, 72)], [1, 4 / 5, 3 / 5, 3 / 5, 3 / 10, 3 / 10])
    assert np.isnan(wait_curves(source.counts)["all"].untreated).all()


def test_the_longest_wait_is_relative_to_the_target(report: FairnessReport, played: dict[str, EpisodeSet]) -> None:
    rows = longest_waits(report._sources["triage"], 0)
    frame = to_frame(played["triage"])
    frame = frame[frame["counted"]]
    ratios = frame.groupby(["age_band", "severity_arrival"], observed=True)[["wait", "target_wait"]].sum()
    sizes = frame.groupby(["age_band", "severity_arrival"], observed=True).size()
    expected = (ratios["wait"] / ratios["target_wait"])[sizes >= 30].sort_values(ascending=False)
    assert [name for name, _, _ in rows] == [f"{age} {severity}" for age, severity in expected.index]
    assert [ratio.value for _, _, ratio in rows] == pytest.approx(expected.tolist())


def test_no_wait_has_a_negative_limit(played: dict[str, EpisodeSet]) -> None:
    """Of a class that nearly never waits, Student's t over five episodes alone would reach below 0."""
    few = replace(played["triage"], records=played["triage"].records[played["triage"].records["episode"] < 5].copy())
    few.records["wait"] = np.where(few.records["episode"] == 0, few.records["wait"], 0.0)
    rows = longest_waits(FairnessReport({"triage": to_frame(few)}, scenario=HOSPITAL)._sources["triage"], 0)
    limits = np.array([[mean.low, mean.value, mean.high, ratio.low, ratio.value, ratio.high] for _, mean, ratio in rows])
    assert len(rows) and (limits >= 0).all() and (limits[:, 0] == 0).any() and (limits[:, 2] > limits[:, 1]).all()


def test_a_policy_has_one_colour_in_all_charts(played: dict[str, EpisodeSet], tmp_path: Path) -> None:
    """Whatever the order in which policies and training runs are given."""
    np.savez(tmp_path / "evaluations.npz", timesteps=np.arange(1, 3), worst=np.ones(2))
    runs = {name: tmp_path / "evaluations.npz" for name in ("another run", *reversed(list(played)))}
    report = FairnessReport(played, subject="c-mu", reference="triage", training=runs)
    found, contents = report.findings, report.contents
    bars = {trace.name: trace.marker.color for trace in figures.group_bars(found).data}
    assert set(bars) == set(played) and len(set(bars.values())) == 3
    assert {trace.text[0]: trace.marker.color for trace in figures.pareto(found).data if trace.text} == bars
    training = {trace.name: trace.line.color for trace in figures.training_chart("worst", contents.training, found).data}
    assert {name: training[name] for name in played} == bars and training["another run"] not in bars.values()
    curves = {name: of["adult"] for name, of in contents.curves.items()}
    waits = {trace.name: trace.line.color for trace in figures.wait_chart("adult", curves).data}
    used = {trace.name: trace.marker.color for trace in figures.resource_bars(contents.used).data}
    assert waits == used == {name: bars[name] for name in ("c-mu", "triage")}


def test_a_policy_that_hardly_acts_itself_says_so_first(played: dict[str, EpisodeSet]) -> None:
    own = FairnessReport({"rule": played["triage"]})
    assert "Invalid actions" not in [item.about for item in own.contents.recommendations]
    invalid = replace(played["triage"], invalid_actions=played["triage"].decisions // 2)
    first = FairnessReport({"model": invalid}).contents.recommendations[0]
    assert first.about == "Invalid actions" and "of the decisions model chose an action that was not possible" in first.text


def test_equal_policies_and_single_episodes_are_put_in_words(played: dict[str, EpisodeSet]) -> None:
    same = FairnessReport({"one": played["triage"], "other": played["triage"]})
    assert "not known: no spread" in without_scripts(same.to_html())
    few = {rule: play(rule, 1) for rule in ("triage", "c-mu")}  # fewer than 30 patients of every group
    assert FairnessReport(few).decision == "Nothing can be said about c-mu: every group has too few patients."
    once = {rule: evaluate_episodes(HEURISTICS[rule](make()), lambda: HospitalEnv(RURAL), 1, SEED) for rule in few}
    for policies in (once, {"triage": once["triage"]}):
        single = FairnessReport(policies)
        assert "over 1 episodes" not in single.decision and "interval no interval" not in single.decision
        assert "no interval: one episode" in single.decision
    for page in (same.to_html(), single.to_html()):
        assert not re.search(r"\bnan\b", without_scripts(page))


def test_indices_and_negative_controls_stand_on_the_page(report: FairnessReport, played: dict[str, EpisodeSet]) -> None:
    page = without_scripts(report.to_html())
    indices = report.to_dict()["policies"]["triage"]["metrics"]["indices"]
    consistency = individual_fairness(to_frame(played["triage"])).consistency
    assert indices["consistency"] == consistency
    assert 'id="indices-table-caption"' in page and f"{consistency:.3f}" in page
    controls = report.contents.notes["Negative controls"]
    assert "Gap by sex: " in controls and "gap by quintile: " in controls and "NOT" not in controls
    assert "consistency: not available" not in page
    replayed = FairnessReport(played, facts={"Arrivals": "replayed from a file"})
    assert "Negative controls" not in replayed.contents.notes
    counted = FairnessReport({"log": accumulate(to_frame(played["triage"]))}).contents.notes
    assert "consistency: not available: single patients" in counted["Notes on the records"]


def test_counterfactuals_are_paired_and_recommended(played: dict[str, EpisodeSet]) -> None:
    """Twenty more beds of every type must help; the same hospital again must not, not even by a rounding."""
    levers = {"same again": HOSPITAL, "many beds": replace(HOSPITAL, beds=(51, 23, 26), nurses=(60, 60, 60), equipment=60)}
    policy = HEURISTICS["triage"](make())
    changed = paired_counterfactuals(policy, HOSPITAL, levers, n_episodes=EPISODES, seed=SEED)
    report = FairnessReport(played, reference="first-come", counterfactuals=changed, scenario=HOSPITAL)
    many, same = report.contents.levers
    assert (many.name, same.name) == ("many beds", "same again")
    assert (same.change.worst.low, same.change.worst.high) == (0.0, 0.0)
    assert many.change.worst.confidence == pytest.approx(0.975)
    assert many.change.worst.value > 0
    lever = next(item for item in report.contents.recommendations if item.about == "Best lever")
    assert "many beds" in lever.text and len(report.contents.recommendations) <= MOST
    assert "What if" in without_scripts(report.to_html())
    other = {"other patients": evaluate_episodes(policy, make, EPISODES, SEED + 1)}
    with pytest.raises(ValueError, match=r"counterfactuals\['other patients'\]: demand differs"):
        FairnessReport(played, subject="triage", counterfactuals=other)


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_same_hospital_again_changes_nothing_for_a_model(deterministic: bool) -> None:
    """A model draws what it drew in the evaluation, so that a lever's effect is not that of other draws."""
    model = PPO("MlpPolicy", make(), n_steps=8, batch_size=8, seed=0, device="cpu", policy_kwargs={"net_arch": [4]})
    evaluations = evaluate_policies({"model": model}, make, 4, 0, SEED, deterministic=deterministic)
    options: dict[str, Any] = {"deterministic": True} if deterministic else {}
    (again,) = paired_counterfactuals(model, HOSPITAL, {"same": HOSPITAL}, n_episodes=4, seed=SEED, **options).values()
    episodes = evaluations["model"].episodes
    assert episodes is not None
    pd.testing.assert_frame_equal(to_frame(again), to_frame(episodes))


def test_default_levers_change_one_thing_each() -> None:
    levers = default_levers(RURAL)
    assert list(levers)[:2] == ["+2 general beds", "+1 paediatric bed"]
    assert levers["+2 general beds"].beds == (33, 3, 6)
    assert levers["+1 nurse per shift"].nurses == (11, 9, 8)
    assert all(changed != RURAL for changed in levers.values())
    assert "+1 paediatric bed" not in default_levers(replace(RURAL, beds=(31, 0, 6)))
    with pytest.raises(ValueError, match="levers: got none"):
        paired_counterfactuals(HEURISTICS["triage"](make()), HOSPITAL, {}, n_episodes=1, seed=0)


def test_utilisation_is_pooled_over_hours(report: FairnessReport, played: dict[str, EpisodeSet]) -> None:
    hours = played["triage"].utilisation["general beds"].sum(axis=0)
    used = report.contents.used["triage"]["general beds"]
    assert used.value == pytest.approx(hours[0] / hours[1]) and used.low < used.value < used.high


def test_training_curves_are_read(played: dict[str, EpisodeSet], tmp_path: Path) -> None:
    steps = np.array([100, 200, 300])
    np.savez(tmp_path / "evaluations.npz", timesteps=steps, results=np.ones((3, 5)), worst=[0.5, np.nan, 0.7])
    (tmp_path / "progress.csv").write_text("time/total_timesteps,group/worst,rollout/ep_rew_mean\n100,0.4,\n200,,3.0\n")
    runs = {"first": tmp_path / "evaluations.npz", "second": tmp_path / "progress.csv"}
    report = FairnessReport({"triage": played["triage"]}, training=runs)
    first, second = report.contents.training
    assert first.series["worst"][0] == 0.5 and first.series["reward"].tolist() == [1.0, 1.0, 1.0]
    assert second.timesteps.tolist() == [100.0, 200.0] and second.series["worst"][0] == 0.4
    page = without_scripts(report.to_html())
    assert "first from 0.5 to 0.7" in page and 'id="training-worst"' in page
    assert report.to_dict()["training"]["first"]["worst"] == [0.5, None, 0.7]
    (tmp_path / "empty.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"training\['empty'\]: .* holds none of"):
        FairnessReport(played, training={"empty": tmp_path / "empty.csv"})


def test_wording() -> None:
    share, other = Scale(True), Scale(False)
    assert share.with_limits(Interval(0.8804, 0.86, 0.897, "episode", 9, "t")) == "88.0 % (86.0 to 89.7)"
    assert share.with_limits(interval(-0.0001), change=True) == f"0.0 points ({MINUS}1.0 to +1.0)"
    assert other.with_limits(interval(-3.25, 1.0)) == f"{MINUS}3.250 ({MINUS}4.250 to {MINUS}2.250)"
    assert share.limits(Interval(0.5, np.nan, np.nan, "episode", 1, "none")) == "no interval: one episode"
    assert (signed(0.26, 1), signed(-0.26, 1), signed(-0.01, 1), plain(-0.01, 1)) == ("+0.3", f"{MINUS}0.3", "0.0", "0.0")
    assert (listing("a"), listing("ab"), listing("abc"), listing("")) == ("a", "a and b", "a, b and c", "")
    assert (number(0.0), number(12.345), number(1e-5)) == ("0.000", "12.35", f"1e{MINUS}05")
    assert shortened("a" * 40) == "a" * 25 + "…"


def test_what_the_guide_shows_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two episodes in the place of twenty."""
    text = (Path(__file__).parents[1] / "docs" / "guide" / "report.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(block.replace("episodes=20", "episodes=2"), {})
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.json", "report.png", "events.csv"}
