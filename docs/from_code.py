"""What the pages take from the code when they are built, so that no number or table is written twice.

A page asks for it with a comment on a line of its own, ``<!-- from code: name argument ... -->``, where the name is one of
:data:`SOURCES`. The comment is replaced by Markdown.
"""

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import numpy as np
from sphinx.application import Sphinx

from hospital_gym import records
from hospital_gym.clinical.mimic.items import read_items
from hospital_gym.observation import ObservationLayout
from hospital_gym.scenarios import SCENARIOS, Scenario, describe

PUBLISHED_GROUPS: Final = 4
REQUEST: Final = re.compile(r"^<!-- from code: (.+) -->$", re.MULTILINE)
RECORD_COLUMN: Final = re.compile(r'^ +\("(\w+)", np\.(\w+)\),  # (.+)$', re.MULTILINE)
REST_FIELD: Final = re.compile(r"^:(param|raises) (\w+): ", re.MULTILINE)
REST_ROLE: Final = re.compile(r":(class|func|meth|mod|data):`")


def as_text(value: Any) -> str:
    """A number, or a table of them with rows separated by semicolons."""
    if isinstance(value, (tuple, list)):
        nested = bool(value) and isinstance(value[0], (tuple, list))
        return ("; " if nested else ", ").join(as_text(item) for item in value) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def derived_rows(scenario: Scenario) -> list[tuple[str, Any, str, str]]:
    """What follows from the numbers: stays, load and the need for nurses."""
    rows: list[tuple[str, Any, str]] = [
        ("mean_stay_hours", scenario.mean_stay_hours, "mean stay over all requests, hours"),
        ("discount_time", scenario.discount_time, "time constant of the discount, hours"),
        ("offered_load_all_beds", scenario.offered_load_all_beds, "offered load of all regular beds together"),
        ("offered_load", scenario.offered_load, "offered load by bed type: general, paediatric, critical"),
        ("nurses_needed", scenario.nurses_needed, "nurses needed at full census: day, evening, night"),
    ]
    return [(key, np.round(value, 2).tolist(), unit, "follows from the others") for key, value, unit in rows]


def scenario_table(name: str, base: str | None = None) -> str:
    """The numbers of a hospital; with ``base`` only those that differ from that other hospital."""
    unchanged = {key: value for key, value, _, _ in describe(SCENARIOS[base])} if base else {}
    rows = [row for row in describe(SCENARIOS[name]) if row[0] not in unchanged or unchanged[row[0]] != row[1]]
    lines = ["| Key | Value | Meaning and unit | Source |", "|---|---|---|---|"]
    lines += [f"| `{key}` | {as_text(value)} | {unit} | {source} |" for key, value, unit, source in rows]
    lines += [
        f"| `{key}` | {as_text(value)} | {unit} | {source} |" for key, value, unit, source in derived_rows(SCENARIOS[name])
    ]
    return "\n".join(lines)


def _as_markdown(rest_field: re.Match[str]) -> str:
    kind, name = rest_field.groups()
    return f"- `{name}`: " if kind == "param" else f"\nRaises a `{name}`: "


def class_page(path: str) -> str:
    """The docstring of a class that is written as a page in Markdown, its parameters as a list."""
    module, _, name = path.rpartition(".")
    text = str(getattr(import_module(module), name).__doc__)
    head, *body = text.strip("\n").splitlines()
    indent = len(head) - len(head.lstrip()) if head else 4
    text = "\n".join(line[indent:] for line in [head, *body])
    text = REST_ROLE.sub(r"{py:\1}`", text)
    text, found, parameters = text.partition("\n:param ")
    parameters = REST_FIELD.sub(_as_markdown, found.strip("\n") + parameters)
    return f"{text}\n## Arguments\n\n{parameters}" if found else text


def observation_table() -> str:
    """The fields of the observation, for the published groups."""
    return ObservationLayout(PUBLISHED_GROUPS).markdown()


def record_table() -> str:
    """The columns of a patient record with the comments beside them."""
    columns = RECORD_COLUMN.findall(inspect.getsource(records))
    assert [name for name, _, _ in columns] == list(records.RECORD_DTYPE.names or ()), "a column without a comment"
    rows = [f"| `{name}` | {kind.rstrip('_')} | {comment} |" for name, kind, comment in columns]
    return "\n".join(["| Column | Type | Meaning |", "|---|---|---|", *rows])


def mimic_table() -> str:
    """Channels of MIMIC-III, their limits, and the items they are made of."""
    table = read_items()
    rows = ["| Modality | Channel | Unit | Believed | Items |", "|---|---|---|---|---|"]
    for number, channel in enumerate(table.channels):
        items = [item for item in table.items if item.channel == number]
        low, high = min(item.low for item in items), max(item.high for item in items)
        limits = "parts" if table.parts(number) > 1 else f"{low:g} to {high:g}"
        listed = ", ".join(f"{item.itemid}" + (f" ({item.conversion})" if item.conversion != "none" else "") for item in items)
        rows.append(f"| `{channel.modality}` | {channel.name} | {channel.unit} | {limits} | {listed} |")
    return "\n".join(rows)


SOURCES: Final[dict[str, Callable[..., str]]] = {
    "class-page": class_page,
    "mimic-table": mimic_table,
    "observation-table": observation_table,
    "record-table": record_table,
    "scenario-table": scenario_table,
}


def fill_in(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace each request of a page."""

    def answer(request: re.Match[str]) -> str:
        name, *arguments = request[1].split()
        return SOURCES[name](*arguments)

    source[0] = REQUEST.sub(answer, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
