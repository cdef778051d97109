"""What ``diagnose --dynamics`` writes: a picture of disparity over training, and its numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from hospital_gym.clinical.case_table import CaseTable
from sb3_grpo.cli.evaluation import make_console
from sb3_grpo.cli.output import command_line
from sb3_grpo.common.files import versions, write_json, write_text
from sb3_grpo.diagnosis.cross_validation import FoldTask, saved_answers
from sb3_grpo.diagnosis.dynamics import SHOWN, Curve, CurveTask, draw, early_point, make_curve, save
from sb3_grpo.fairness.classification import METRICS, Attribute


def write_dynamics(table: CaseTable, attributes: Sequence[str], tasks: Sequence[FoldTask], folder: Path, name: str) -> None:
    """Draw and write.

    :param table: cases
    :param attributes: by which disparities are measured
    :param tasks: the trainings, all finished
    :param folder: where to write
    :param name: of the table
    """
    from dataclasses import asdict

    from sb3_grpo.diagnosis.results import rounded

    console = make_console()
    ways = {key: Attribute((grouped := table.grouped_by(key)).group_id, grouped.group_names) for key in attributes}
    curves: dict[str, Curve] = {}
    for method in dict.fromkeys(task.name for task in tasks):
        mine = [cast(CurveTask, task) for task in tasks if task.name == method]
        answers = {
            task.file_name: found for task in mine if (found := saved_answers(folder / "answers", task, table)) is not None
        }
        curves[mine[0].method.label] = make_curve(table, mine, answers, ways)
    sentences = [sentence(label, curve) for label, curve in curves.items()]
    for line in sentences:
        console.print(line, highlight=False)
    save(draw(curves, f"{name}: held-out cases, each seed and the mean"), folder / "dynamics.png")
    write_text(folder / "dynamics.md", "\n\n".join([f"# Disparity over training: {name}", *sentences]) + "\n")
    content = {
        label: {
            "updates": curve.updates.tolist(),
            "values": {key: of.tolist() for key, of in curve.values.items()},
            "change": {key: asdict(change) for key, change in curve.change.items()},
        }
        for label, curve in curves.items()
    }
    facts = {"command": command_line(), "versions": versions()}
    write_json(folder / "dynamics.json", rounded({"table": name, **facts, "curves": content}))
    console.print(f"{folder}: dynamics.png, dynamics.json, dynamics.md", highlight=False, soft_wrap=True)


def sentence(label: str, curve: Curve) -> str:
    """How disparity changed between early in training and its end."""
    from sb3_grpo.diagnosis.tables import estimate_text

    early = early_point(len(curve.updates))
    changes = ", ".join(f"{METRICS[key]} {estimate_text(curve.change[key].difference, signed=True)}" for key in SHOWN)
    seeds = len(next(iter(curve.values.values())))
    return f"{label}, from update {curve.updates[early]} to {curve.updates[-1]}, {seeds} seeds: {changes}."
