"""Escalation thresholds tuned for the efficiency of c-mu, by hospital."""

from typing import Any, Final

TUNED_THRESHOLDS: Final[dict[str, dict[str, Any]]] = {}
