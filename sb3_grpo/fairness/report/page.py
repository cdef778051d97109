"""The page: one file that works offline. Style, scripts and numbers are in it; it may not load anything."""

import base64
import hashlib
from importlib.resources import files
from string import Template
from typing import Final

import numpy as np

from sb3_grpo.fairness.report import elements
from sb3_grpo.fairness.report.contents import Contents
from sb3_grpo.fairness.report.decision import LABELS, verdict
from sb3_grpo.fairness.report.sections import SECTIONS
from sb3_grpo.fairness.report.wording import percent, plain

DISCLAIMER: Final = "Research software, not a medical device. A simulator\u2019s results are not clinical evidence."

# The policy lets run the two scripts of this page and nothing else, and lets it fetch nothing: whatever a name smuggled in.
_PAGE: Final = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
script-src $hashes">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>$title</title>
<style>$style</style>
</head>
<body>
<a class="skip" href="#main">Skip to the decision</a>
<header>
<h1>$title</h1>
<p>$subtitle</p>
</header>
<main id="main" tabindex="-1">
$decision
$sections</main>
<footer><p>$disclaimer</p></footer>
<script>$plotly</script>
<script>$script</script>
</body>
</html>
""")


def render(contents: Contents) -> str:
    """The page as HTML.

    :param contents: what it is made of
    """
    made = [(address, name, make(contents)) for address, name, make in SECTIONS]
    made = [part for part in made if part[2]]
    links = "".join(f'<li><a href="#{address}">{elements.text(name)}</a></li>' for address, name, _ in made)
    found = contents.findings
    subtitle = f"{len(found.policies)} {'policies' if len(found.policies) > 1 else 'policy'}, {_count(found.n_episodes)}"
    if len(found.policies) > 1:
        subtitle += " each, the same patients for all" if found.subject.paired is not None else " each"
    decision = _decision(contents, f'<nav aria-label="Sections"><ul>{links}</ul></nav>')
    return compose(contents.title, subtitle, decision, "".join(content for _, _, content in made), DISCLAIMER)


def compose(title: str, subtitle: str, decision: str, sections: str, disclaimer: str) -> str:
    """A page of sections that are made already.

    :param title: heading, as plain text
    :param subtitle: what stands below it, as plain text
    :param decision: the first section, as HTML
    :param sections: the other sections, as HTML
    :param disclaimer: the last line, as plain text
    """
    from plotly.offline import get_plotlyjs

    scripts = {"plotly": get_plotlyjs(), "script": _resource("page.js")}
    return _PAGE.substitute(
        hashes=" ".join(f"'sha256-{_hash(content)}'" for content in scripts.values()),
        title=elements.text(title),
        subtitle=elements.text(subtitle),
        style=_resource("page.css"),
        decision=decision,
        sections=sections,
        disclaimer=elements.text(disclaimer),
        **scripts,
    )


def _count(n_episodes: int) -> str:
    return f"{n_episodes} episode{'s' if n_episodes != 1 else ''}"


def _decision(contents: Contents, navigation: str) -> str:
    found, scale = contents.findings, contents.scale
    kind = verdict(found.subject.paired).kind
    label = "" if kind == "no comparison" else f'<p class="verdict {kind.replace(" ", "-")}">{elements.text(LABELS[kind])}</p>'
    bands = found.subject.bands
    paired = found.subject.paired
    tiles = {
        f"Worst-off group: {bands.worst_group or 'none'}": _tile(scale.level(bands.worst.value), scale.limits(bands.worst))
    }
    gap = "not known" if np.isnan(bands.gap.value) else scale.change(bands.gap.value).lstrip("+")
    tiles["Gap, best less worst"] = _tile(gap, scale.limits(bands.gap))
    if paired is not None and scale.share and np.isfinite(paired.efficiency_ratio.value):
        kept = paired.efficiency_ratio
        limits = "" if np.isnan(kept.low) else f"{plain(100 * kept.low, 1)} to {plain(100 * kept.high, 1)}"
        tiles["Efficiency kept"] = _tile(percent(kept.value), limits)
    else:
        tiles["Efficiency"] = _tile(scale.level(found.subject.efficiency.value), scale.limits(found.subject.efficiency))
    tiles["Counted patients"] = _tile(f"{sum(found.counted):,}".replace(",", "\u202f"), f"in {_count(found.n_episodes)}")
    return (
        f'<section class="decision" aria-label="Decision">{label}{elements.paragraph(contents.decision, "sentence")}'
        f"{elements.facts(tiles, 'tiles')}{navigation}"
        "<noscript><p>Charts need JavaScript; every number is in the tables as well.</p></noscript></section>"
    )


def _tile(value: str, below: str) -> str:
    return f"{value}\n{below}" if below else value


def _resource(name: str) -> str:
    return files("sb3_grpo.fairness.report").joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
