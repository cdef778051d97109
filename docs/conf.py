"""Sphinx configuration: Markdown pages, classes documented from their docstrings, numbers read from the code."""

import sys
from pathlib import Path

import sb3_grpo

sys.path.insert(0, str(Path(__file__).parent))

project = "sb3_grpo"
author = "sb3_grpo contributors"
copyright = "2026, sb3_grpo contributors"
release = version = sb3_grpo.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "from_code",
]
# results: pages and tables that commands wrote, included by other pages
exclude_patterns = [
    "_build",
    *sorted(f"results/{path.name}" for path in Path(__file__).parent.glob("results/*.md") if path.stem != "study-protocol"),
]

html_theme = "furo"
html_title = f"sb3_grpo {release}"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_member_order = "bysource"
