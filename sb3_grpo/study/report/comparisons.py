"""Sections of a report that compare rows of models with lam=0 and with rules: each gives Markdown, empty without results."""

from typing import Final

from sb3_grpo.fairness.inference import adjust_p_values
from sb3_grpo.fairness.report.wording import listing, percent, plain
from sb3_grpo.study.protocol import MODES
from sb3_grpo.study.report import text
from sb3_grpo.study.report.choice import candidates, chosen
from sb3_grpo.study.report.data import BASELINE, Results, values
from sb3_grpo.study.report.figures import variant_rows
from sb3_grpo.study.report.primary import (
    Primary,
    against_rule,
    compare,
    over_trainings,
    primary,
    rows_against_baseline,
)


def choice_of_lam(results: Results) -> str:
    """Which lam the protocol's rule chooses on validation episodes."""
    rows, said = [], []
    for scenario in results.scenarios:
        found = candidates(results, scenario)
        best = chosen(found)
        for each in found:
            mark = (
                "baseline" if each.lam == 0 else "chosen" if each == best else "" if each.allowed else "too little efficiency"
            )
            rows.append(
                [
                    scenario,
                    f"{each.lam:g}",
                    str(each.n),
                    text.number(each.gap),
                    text.number(each.worst),
                    percent(each.efficiency),
                    mark,
                ]
            )
        said.append(f"{scenario}: {'null' if best is None else f'{best.lam:g}'}")
    if not rows:
        return ""
    protocol = results.protocol
    intro = (
        f"On {protocol.validation_episodes} validation episodes, means over trainings. The rule: of the candidates "
        f"{', '.join(f'{lam:g}' for lam in protocol.candidates)}, the smallest gap among those that keep at least "
        f"{percent(protocol.least_efficiency)} of the efficiency of lam=0. It gives `lam: {{{', '.join(said)}}}`; "
        f"the protocol says `lam: {{{', '.join(f'{name}: {_lam(lam)}' for name, lam in protocol.lam.items())}}}`."
    )
    columns = ["hospital", "lam", "trainings", "gap", "worst group", "efficiency kept", ""]
    return f"{intro}\n\n{text.table(columns, rows)}"


def _lam(value: float | None) -> str:
    return "null" if value is None else f"{value:g}"


_PRIMARY: Final = (
    "hospital", "lam", "trainings", "gap at lam=0", "gap", "difference", "t", "p", "Cohen's d", "gap shrunk by",
    "efficiency kept",
)  # fmt: skip


def primary_comparison(results: Results) -> str:
    """The comparison that was fixed beforehand."""
    found = primary(results)
    if not found:
        return ""
    protocol = results.protocol
    n = min(min(each.against.n) for each in found)
    lines = [
        "One comparison in each hospital, fixed before test episodes were played: the gap under the chosen lam against that "
        f"under lam=0, each pooled over the same {protocol.test_episodes} test episodes, actions {protocol.mode}. The unit "
        f"is the training; Welch's t-test, two-sided, p by Holm over the {len(found)} hospitals. In brackets 95 % limits "
        "over trainings; gap shrunk by and efficiency kept are ratios of means, with Fieller's limits.",
        text.table(
            [*_PRIMARY, f"target ({percent(protocol.target)} at {percent(protocol.non_inferiority)})"],
            [_primary_row(results, each) for each in found],
        ),
        " ".join(_harm(each) for each in found),
    ]
    if n < protocol.seeds:
        lines.insert(1, f"**Not complete: {n} trainings where the protocol says {protocol.seeds}.**")
    return "\n\n".join(lines)


def _primary_row(results: Results, each: Primary) -> list[str]:
    against = each.against
    gaps = [over_trainings(values(results.tests(against.scenario, row), "gap")).value for row in (BASELINE, against.row)]
    return [
        against.scenario,
        against.row.removeprefix("lam="),
        f"{against.n[0]} and {against.n[1]}",
        *(text.number(gap) for gap in gaps),
        text.change(against.gap),
        text.number(against.gap.statistic, 2),
        text.p(each.p_corrected),
        text.interval(against.effect, 2),
        text.share(against.reduction),
        text.share(against.efficiency),
        "met" if each.meets_target else "missed",
    ]


def _harm(each: Primary) -> str:
    against = each.against
    worst = f"the worst-off group's rate changes by {text.change(against.worst)}"
    losses = [f"{name} lose {plain(loss, 3)}" for name, loss in sorted(against.losses.items(), key=lambda item: -item[1])]
    judged = ""
    if not against.gap.interval.excludes(0):
        judged = " The gap's change lies within its limits."
    if against.levels_down:
        judged += " **By these numbers this is levelling down.**"
    elif against.harms_more_than_it_helps:
        judged += " **Some group loses more than the worst-off gains.**"
    return f"{against.scenario}: {worst}; {listing(losses) if losses else 'no group loses'}.{judged}"


def against_rules(results: Results) -> str:
    """The models against the tuned rules on the same episodes, and whether lam=0 is a baseline worth its name."""
    rows = []
    for scenario in results.scenarios:
        row = results.chosen_row(scenario)
        for rule in results.rules(scenario):
            if row is None or not rule.endswith("-tuned"):
                continue
            rows.append(
                [
                    scenario,
                    rule,
                    text.share(against_rule(results, scenario, BASELINE, rule, "efficiency", ratio=True)),
                    text.share(against_rule(results, scenario, row, rule, "efficiency", ratio=True)),
                    text.interval(against_rule(results, scenario, row, rule, "worst"), sign=True),
                    text.interval(against_rule(results, scenario, row, rule, "gap"), sign=True),
                ]
            )
    if not rows:
        return ""
    intro = (
        "The same episodes; the rule is fixed, so the limits are over trainings. A weak baseline proves nothing: lam=0 "
        "should reach 99 % of the efficiency of tuned c-mu. The test that counts is a higher worst group than tuned triage "
        "at no lower efficiency."
    )
    columns = ["hospital", "rule", "efficiency of lam=0 / rule", "efficiency of chosen lam / rule", "worst group less rule's"]
    return f"{intro}\n\n{text.table([*columns, 'gap less rule' + chr(39) + 's'], rows)}"


def groups(results: Results) -> str:
    """Each group's change from lam=0 to the chosen lam."""
    rows = []
    for against in (each.against for each in primary(results)):
        changes = [text.change(against.groups[name]) for name in results.group_names if name in against.groups]
        rows.append([against.scenario, against.row, *changes, text.change(against.worst)])
    if not rows:
        return ""
    intro = "Difference in each group's benefit rate to lam=0, each with 95 % limits over trainings (Welch, not simultaneous)."
    return f"{intro}\n\n{text.table(['hospital', 'policy', *results.group_names, 'worst group'], rows)}"


def by_lam(results: Results) -> str:
    """Every row of models against lam=0: descriptive."""
    rows = []
    for scenario in results.scenarios:
        found = {row: each for row, each in rows_against_baseline(results, scenario).items() if each is not None}
        corrected = adjust_p_values([each.gap.p_value for each in found.values()], "bonferroni")
        for (row, each), p in zip(found.items(), corrected, strict=True):
            rows.append(
                [
                    scenario,
                    row,
                    f"{each.n[0]} and {each.n[1]}",
                    text.change(each.gap),
                    text.number(each.gap.statistic, 2),
                    text.p(each.gap.p_value),
                    text.p(float(p)),
                    text.interval(each.effect, 2),
                    text.share(each.reduction),
                    text.share(each.efficiency),
                    text.change(each.worst),
                ]
            )
    if not rows:
        return ""
    intro = (
        "Descriptive: each row of models against lam=0 (the same discount on elapsed time; `SB3 PPO` discounts per "
        "decision, `group critic` is lam=0 with one value per group). p by Bonferroni within the hospital beside the plain "
        "one. Trainings of different rows share nothing."
    )
    columns = ["hospital", "policy", "trainings", "gap less lam=0's", "t", "p", "p, Bonferroni", "Cohen's d", "gap shrunk by"]
    return f"{intro}\n\n{text.table([*columns, 'efficiency kept', 'worst group less lam=0' + chr(39) + 's'], rows)}"


def modes(results: Results) -> str:
    """The primary comparison with actions drawn and with the most likely actions."""
    rows = []
    for mode in MODES:
        for each in primary(results, mode=mode):
            against = each.against
            gaps = [
                over_trainings(values(results.tests(against.scenario, row, mode), "gap")).value
                for row in (BASELINE, against.row)
            ]
            rows.append(
                [
                    against.scenario,
                    mode,
                    *map(text.number, gaps),
                    text.share(against.reduction),
                    text.share(against.efficiency),
                    text.change(against.worst),
                ]
            )
    if not rows:
        return ""
    intro = (
        "Each mode with the checkpoint that was chosen in it. The protocol's mode is the one tested; the other is descriptive."
    )
    columns = ["hospital", "actions", "gap at lam=0", "gap", "gap shrunk by", "efficiency kept", "worst group less lam=0's"]
    return f"{intro}\n\n{text.table(columns, rows)}"


def elsewhere(results: Results) -> str:
    """The primary comparison in changed hospitals."""
    rows = []
    for name in ["", *dict.fromkeys(played.elsewhere for played in results.played if played.elsewhere)]:
        for each in primary(results, elsewhere=name):
            against = each.against
            rows.append(
                [
                    against.scenario,
                    name or "as it is",
                    text.change(against.gap),
                    text.share(against.reduction),
                    text.share(against.efficiency),
                    text.change(against.worst),
                    "smaller" if against.gap.difference < 0 else "LARGER",
                ]
            )
    if all(row[1] == "as it is" for row in rows):
        return ""
    intro = "The same trained models, played in changed hospitals on the same patients; nothing was trained or chosen there."
    columns = [
        "hospital",
        "changed",
        "gap less lam=0's",
        "gap shrunk by",
        "efficiency kept",
        "worst group less lam=0's",
        "gap",
    ]
    return f"{intro}\n\n{text.table(columns, rows)}"


def sensitivity(results: Results) -> str:
    """Every variant with the chosen lam against the same variant with lam=0."""
    rows = []
    for scenario in results.scenarios:
        lam = results.chosen_row(scenario)
        for name in ["", *dict.fromkeys(row.rpartition(", ")[0] for row in variant_rows(results, scenario))]:
            new, old = ([*filter(None, (name, value))] for value in (lam, BASELINE))
            row, base = ", ".join(new), ", ".join(old)
            against = compare(results.tests(scenario, row), results.tests(scenario, base), scenario, row)
            if lam is None or against is None:
                continue
            efficiency = over_trainings(values(results.tests(scenario, base), "efficiency"))
            gap = over_trainings(values(results.tests(scenario, row), "gap"))
            rows.append(
                [
                    scenario,
                    name or "as it is",
                    text.interval(efficiency),
                    text.interval(gap),
                    text.share(against.reduction),
                    text.share(against.efficiency),
                ]
            )
    if len({row[1] for row in rows}) < 2:
        return ""
    intro = "One setting changed at a time; the chosen lam against lam=0 with the same change. Descriptive."
    columns = ["hospital", "changed", "efficiency of lam=0", "gap at chosen lam", "gap shrunk by", "efficiency kept"]
    return f"{intro}\n\n{text.table(columns, rows)}"
