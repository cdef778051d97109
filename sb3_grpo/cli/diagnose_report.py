"""What ``diagnose``, and ``report`` of a study of diagnosis, write about a table: metrics, comparisons, tables, page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hospital_gym.clinical.case_table import CaseTable
from sb3_grpo.cli.evaluation import make_console
from sb3_grpo.cli.output import command_line
from sb3_grpo.common.files import versions, write_json, write_text
from sb3_grpo.diagnosis.benchmark import REFERENCE, SUBJECTS
from sb3_grpo.diagnosis.cross_validation import FoldTask, Probabilities, collect


def write_report(
    table: CaseTable,
    attributes: Sequence[str],
    tasks: Sequence[FoldTask],
    found: Mapping[str, Probabilities | None],
    folder: Path,
    name: str,
    n_resamples: int,
    title: str | None = None,
) -> bool:
    """
    Compute metrics and comparisons, print them, and write ``diagnose.html``, ``.json``, ``.md`` and ``answers.csv``.

    :param table: cases
    :param attributes: by which disparities are measured
    :param tasks: the trainings
    :param found: their answers by file name, None for a training that is not finished
    :param folder: where to write
    :param name: of the table
    :param n_resamples: of patients, for intervals and tests
    :param title: heading of the page
    :return: False if no method has a seed of which all folds are finished: nothing is written
    """
    from sb3_grpo.diagnosis.page import conclusion, render
    from sb3_grpo.diagnosis.results import summarise
    from sb3_grpo.diagnosis.tables import insufficient_sentences, markdown, terminal_table
    from sb3_grpo.fairness.classification import Attribute

    console = make_console()
    answers = {key: each for key, each in found.items() if each is not None}
    diagnoses = collect(table, tasks, answers, attributes)
    if not diagnoses:
        return False
    labels = {task.name: task.method.label for task in tasks}
    first = next(iter(diagnoses.values()))
    subject = next(each for each in (*SUBJECTS, *reversed(first)) if each in first)
    with console.status("Intervals"):
        sources = Attribute(table.source_id, table.source_names)
        results = [
            summarise(scheme, of, REFERENCE, SUBJECTS, sources, n_resamples=n_resamples) for scheme, of in diagnoses.items()
        ]
    for each in results:
        console.print(terminal_table(each, labels))
    console.print(conclusion(results[0], labels, subject), highlight=False)
    for sentence in insufficient_sentences(results[0]):
        console.print(f"{sentence}.", style="dim", highlight=False)
    facts = {
        "Held out": "Every case was answered by trainings that did not see it, nor any other case of its patient.",
        "Missing values": "Medians, deviations and categories come from each fold's training cases alone.",
        "Trainings": f"{len(answers)}; a patient's contribution is averaged over seeds first.{_unfinished(found)}",
        "Intervals": (
            f"95 %, {n_resamples} resamples of patients. Gaps: limits that hold when groups tie. Others: BCa bootstrap. p: "
            "exchange of two methods' answers, patient by patient; where it and the limits of a change disagree, it is to be "
            "trusted."
        ),
        "Command": " ".join(command_line()),
        "Versions": ", ".join(f"{key} {value}" for key, value in versions().items()),
    }
    title = title or f"Diagnoses of {name}"
    write_text(folder / "diagnose.html", render(title, table, results, labels, subject, facts))
    said = [f"# {title}", conclusion(results[0], labels, subject), *table.notes, f"Written by `{facts['Command']}`."]
    write_text(folder / "diagnose.md", "\n\n".join([*said, *(markdown(each, labels) for each in results)]))
    content = {"table": name, "cases": len(table), "notes": list(table.notes), "facts": facts}
    write_json(folder / "diagnose.json", {**content, "labels": labels, "results": [each.to_dict() for each in results]})
    write_text(folder / "answers.csv", _answers(table, diagnoses))
    console.print(f"{folder}: diagnose.html, diagnose.json, diagnose.md, answers.csv", highlight=False, soft_wrap=True)
    return True


def _unfinished(found: Mapping[str, Probabilities | None]) -> str:
    missing = sum(each is None for each in found.values())
    return f" {missing} of {len(found)} are not finished: a seed counts where all its folds are." if missing else ""


def _answers(table: CaseTable, diagnoses: Any) -> str:
    """What each method said of each case while it was held out: probabilities, averaged over seeds."""
    import pandas as pd

    parts = []
    for scheme, methods in diagnoses.items():
        for name, of in methods.items():
            probability = of.probability.mean(axis=0)
            columns = {f"probability {label}": probability[:, k].round(5) for k, label in enumerate(table.label_names)}
            right = [table.label_names[k] for k in table.label]
            parts.append(pd.DataFrame({"held out": scheme, "method": name, "case": table.case_ids, "right": right, **columns}))
    return pd.concat(parts).to_csv(index=False, lineterminator="\n")
