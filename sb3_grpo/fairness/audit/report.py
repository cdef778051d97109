"""An audit for readers, for programs and for terminals."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sb3_grpo.fairness.audit import document, page, picture, terminal
from sb3_grpo.fairness.audit.audit import Audit
from sb3_grpo.fairness.audit.words import conclusion

if TYPE_CHECKING:
    import pandas as pd


class AuditReport:
    """What was found in a log.

    :param audit: what :func:`~sb3_grpo.fairness.audit.audit.audit_records` returned
    :param title: heading; default: the name of the file
    """

    def __init__(self, audit: Audit, title: str | None = None) -> None:
        self.audit = audit
        self.title = title or f"Audit of {audit.file}"

    @property
    def conclusions(self) -> list[str]:
        """One sentence for each way of forming groups."""
        return [conclusion(self.audit, of) for of in self.audit.groups]

    def to_html(self) -> str:
        """One page that works offline."""
        return page.render(self.audit, self.title)

    def to_json(self) -> str:
        """The audit as JSON, see :meth:`to_dict`."""
        return document.to_json(self.audit)

    def to_dict(self) -> dict[str, Any]:
        """The audit as dictionaries, lists, numbers and strings, with ``schema`` and ``version``."""
        return document.to_dict(self.audit)

    def to_frame(self) -> "pd.DataFrame":
        """One row per number, columns :data:`sb3_grpo.fairness.audit.document.COLUMNS`."""
        return document.to_frame(self.audit)

    def to_png(self, path: str | Path) -> None:
        """Draw the rates.

        :param path: the PNG to write
        """
        picture.draw(path, self.audit, self.title)

    def __rich__(self) -> Any:
        """Tables and what they mean, for ``rich.print``."""
        return terminal.summary(self.audit)
