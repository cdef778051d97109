"""The report in a terminal."""

from typing import Any

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sb3_grpo.fairness.report.contents import Contents
from sb3_grpo.fairness.report.decision import LABELS, verdict
from sb3_grpo.fairness.report.findings import Findings, PolicyFindings
from sb3_grpo.fairness.report.wording import Scale, insufficient, level_text


def table(contents: Contents) -> Table:
    """Every policy as a row: rates of the groups, worst, gap and efficiency, below each its interval.

    :param contents: the report
    """
    found, scale = contents.findings, contents.scale
    result = Table(title=Text(contents.title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    result.add_column("policy", overflow="fold")
    for column in (*found.group_names, "worst", "gap", "efficiency"):
        result.add_column(Text(column), justify="right", overflow="fold")
    for policy in found.policies.values():
        result.add_row(Text(policy.name, style="bold"), *_cells(found, policy, scale), end_section=True)
    result.caption = Text(
        f"{found.setting.rate}; {level_text(found.confidence)} intervals, simultaneous over groups; unit: episode, "
        f"n = {found.n_episodes}"
    )
    return result


def _cells(found: Findings, policy: PolicyFindings, scale: Scale) -> list[Text]:
    bands = policy.bands
    cells = [
        insufficient(n) if np.isnan(rate.value) else _two_lines(scale.level(rate.value), scale.limits(rate))
        for rate, n in zip(bands.rates, found.counted, strict=True)
    ]
    cells.append(_two_lines(scale.level(bands.worst.value), scale.limits(bands.worst)))
    cells.append(_two_lines(scale.change(bands.gap.value).lstrip("+"), scale.limits(bands.gap)))
    cells.append(_two_lines(scale.level(policy.efficiency.value), scale.limits(policy.efficiency)))
    return [Text(cell) for cell in cells]


def _two_lines(value: str, limits: str) -> str:
    return f"{value}\n{limits}"


def summary(contents: Contents) -> Any:
    """The decision, the table, the conclusions about the other policies and the recommendations.

    :param contents: the report
    """
    found = contents.findings
    parts: list[Any] = [Text(contents.decision, style="bold"), Text(""), table(contents)]
    others = [
        policy for policy in found.policies.values() if policy.paired is not None and policy.name != found.setting.subject
    ]
    for policy in others:
        parts.append(Text(f"{policy.name} against {found.setting.reference}: {LABELS[verdict(policy.paired).kind].lower()}"))
    parts += [Text(f"{item.about}: {item.text}") for item in contents.recommendations]
    return Group(*parts)
