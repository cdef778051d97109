"""Small pieces of HTML. Every text goes through :func:`text`, so that no name from the data can become markup."""

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sb3_grpo.fairness.report.figures import COLOURS, DASHES

if TYPE_CHECKING:
    import plotly.graph_objects as go

_DASH_ARRAYS = {"solid": "", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3", "longdash": "11 4", "longdashdot": "11 3 2 3"}
_LONG_CELL = 44  # signs; longer cells are sentences


def text(value: Any) -> str:
    """Text that means nothing but itself, in elements and in attributes."""
    return html.escape(str(value), quote=True)


def paragraph(content: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p{_kind(kind)}>{text(content)}</p>"


def section(name: str, heading: str, *content: str) -> str:
    """A section with a heading of the second level; ``name`` is its address."""
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{text(heading)}</h2>\n{"".join(content)}</section>\n'


def subheading(heading: str) -> str:
    """A heading of the third level."""
    return f"<h3>{text(heading)}</h3>"


def table(name: str, caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table that scrolls inside its own frame; the first cell of a row is its heading.

    :param name: unique on the page
    :param caption: what it shows; state unit and number where there are any
    :param columns: headings
    :param rows: cells as plain text
    :param kind: CSS class
    """
    head = "".join(f'<th scope="col">{text(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{text(row[0])}</th>{"".join(f"<td>{_cell(cell)}</td>" for cell in row[1:])}</tr>\n'
        for row in rows
    )
    # A frame that scrolls must be reachable by keyboard, and so must have a name.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{name}-caption"><table{_kind(kind)}>'
        f'<caption id="{name}-caption">{text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n"
    )


def _cell(content: str) -> str:
    """A cell that breaks, if at all, before an interval in brackets; only long text breaks anywhere."""
    value, bracket, interval = content.partition(" (")
    if len(content) > _LONG_CELL:
        return text(content)
    return f"<span>{text(value)}</span>" + (f' <span class="interval">({text(interval)}</span>' if bracket else "")


def details(summary: str, *content: str) -> str:
    """Content that is folded away until asked for, or printed."""
    return f"<details><summary>{text(summary)}</summary>\n{''.join(content)}</details>\n"


def chart(name: str, title: str, figure: "go.Figure") -> str:
    """A chart; its numbers follow as JSON, its words stand in the figure that holds it."""
    content = json.loads(figure.to_json())
    # Of all signs only "<" could end the script early; JSON may write it as a number.
    numbers = json.dumps({"data": content["data"], "layout": content["layout"]}, separators=(",", ":")).replace("<", "\\u003c")
    height = int(content["layout"]["height"])
    return (
        f'<div class="chart" id="{name}" role="img" aria-label="{text(title)}" style="height:{height}px"></div>'
        f'<script type="application/json" data-chart="{name}">{numbers}</script>\n'
    )


def figure(charts: str, description: str, data: str, key: str = "") -> str:
    """A chart with its text alternative and its numbers.

    :param charts: one chart or several
    :param description: what the chart shows, in words
    :param data: its numbers, a table
    :param key: what its lines mean, where the chart itself does not say
    """
    return f"<figure>{key}{charts}<figcaption>{text(description)}</figcaption></figure>\n{data}"


def line_key(names: Sequence[str]) -> str:
    """What the lines of several charts mean: a sample of each beside its name."""
    items = []
    for place, name in enumerate(names):
        sample = (
            f'<svg width="38" height="10" aria-hidden="true"><line x1="1" y1="5" x2="37" y2="5" stroke="{COLOURS[place]}" '
            f'stroke-width="3" stroke-dasharray="{_DASH_ARRAYS[DASHES[place]]}"/></svg>'
        )
        items.append(f"<li>{sample} {text(name)}</li>")
    return f'<ul class="key">{"".join(items)}</ul>'


def facts(pairs: Mapping[str, str], kind: str = "") -> str:
    """Names and values."""
    rows = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in pairs.items())
    return f"<dl{_kind(kind)}>{rows}</dl>\n"


def _kind(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
