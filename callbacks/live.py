"""A view of a training run in the terminal: how far it is, how each group fares, what the weights are."""

import time
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from stable_baselines3.common.callbacks import BaseCallback

from callbacks.training_groups import TrainingGroups
from sb3_grpo.common.checks import check_whole
from sb3_grpo.fairness.metrics import MIN_PATIENTS

_BAR_WIDTH = 30


class LiveFairnessCallback(BaseCallback):
    """Show progress, speed, lam, and each group's benefit rate as a bar with its weight.

    In a terminal the view is drawn over itself, otherwise a line is printed with every refresh. The cursor stays visible, no
    thread runs and no stream is redirected, so that there is nothing to restore when training ends in an exception or by
    Ctrl-C. Train with ``verbose=0``: SB3's own tables would be drawn between.

    Rates are those of the newest training episodes, as in :class:`~callbacks.FairnessLoggingCallback`. Where they are not
    between 0 and 1 bars are relative to the best group. Weights and lam are there for group-robust algorithms only.

    :param refresh_every: least number of time steps between two refreshes in a terminal
    :param line_every: least number of time steps between two lines elsewhere
    :param window: number of newest episodes that rates rest on
    :param min_patients: groups with fewer counted patients in the window have no rate
    :param console: where to; None: standard output
    :param verbose: as for every callback of Stable-Baselines3
    :raises ValueError: if a number is too small; at the start of training if nobody names the groups
    """

    def __init__(
        self,
        refresh_every: int = 1000,
        line_every: int = 10_000,
        window: int = 100,
        min_patients: int = MIN_PATIENTS,
        console: Console | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        for key, number in (
            ("refresh_every", refresh_every),
            ("line_every", line_every),
            ("window", window),
            ("min_patients", min_patients),
        ):
            check_whole(key, number, 1)
        self.refresh_every, self.line_every = refresh_every, line_every
        self.window, self.min_patients = window, min_patients
        self.console = console
        self.groups: TrainingGroups | None = None
        self._out: Console = Console()
        self._live: Live | None = None
        self._shown_at = 0
        self._began_at, self._began = 0, 0.0

    def _on_training_start(self) -> None:
        self._close()
        self.groups = TrainingGroups(self.model, self.training_env, self.window)
        self._out = Console() if self.console is None else self.console
        self._shown_at = self._began_at = self.model.num_timesteps
        self._began = time.perf_counter()
        if self._out.is_terminal:
            self._live = Live(
                self._view(), console=self._out, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            )
            self._live.start()
            self._out.show_cursor(True)  # hidden, it would stay so after an exception

    def _on_step(self) -> bool:
        assert self.groups is not None
        self.groups.step(self.locals["rewards"], self.locals["dones"], self.locals["infos"])
        if self.num_timesteps - self._shown_at >= (self.line_every if self._live is None else self.refresh_every):
            self._show()
        return True

    def _on_training_end(self) -> None:
        # RL Zoo calls this twice: the second time there is nothing to close, and nothing new to say
        if self._live is not None or self.num_timesteps > self._shown_at:
            self._show()
        self._close()

    def _close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _show(self) -> None:
        self._shown_at = self.num_timesteps
        if self._live is not None:
            self._live.update(self._view(), refresh=True)
        else:
            self._out.print(self._line(), markup=False, highlight=False, soft_wrap=True)

    def _state(self) -> dict[str, Any]:
        """Everything that is shown."""
        assert self.groups is not None
        metrics = self.groups.metrics(self.min_patients)
        weights = self.model.group_weights() if hasattr(self.model, "group_weights") else None
        seconds = max(time.perf_counter() - self._began, 1e-9)
        return {
            "steps": self.model.num_timesteps,
            "total": getattr(self.model, "_total_timesteps", 0),
            "speed": (self.model.num_timesteps - self._began_at) / seconds,
            "lam": self.model.current_lam() if hasattr(self.model, "current_lam") else None,
            "episodes": self.groups.n_finished,
            "worst": None if metrics is None else metrics.worst,
            "gap": None if metrics is None else metrics.gap,
            "rates": [float("nan")] * len(self.groups.group_names) if metrics is None else metrics.rates.tolist(),
            "weights": [None] * len(self.groups.group_names) if weights is None else weights.tolist(),
        }

    def _line(self) -> str:
        assert self.groups is not None
        state = self._state()
        parts = [f"{state['steps']:,} of {state['total']:,} steps", f"{state['speed']:,.0f} a second"]
        if state["lam"] is not None:
            parts.append(f"lam {state['lam']:.3g}")
        for name, rate, weight in zip(self.groups.group_names, state["rates"], state["weights"], strict=True):
            parts.append(f"{name} {_number(rate)}" + ("" if weight is None else f" (weight {weight:.2f})"))
        if state["worst"] is not None:
            parts.append(f"worst {_number(state['worst'])}, gap {_number(state['gap'])}")
        return "; ".join(parts)

    def _view(self) -> RenderableType:
        assert self.groups is not None
        state = self._state()
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=max(state["total"], 1), completed=state["steps"], width=_BAR_WIDTH),
            f"{state['steps']:,} of {state['total']:,} steps",
            f"{state['speed']:,.0f} a second",
            "" if state["lam"] is None else f"lam {state['lam']:.3g}",
            f"{state['episodes']:,} episodes",
        )
        body = Table.grid(padding=(0, 2))
        rates = [rate for rate in state["rates"] if rate == rate]
        is_share = all(0 <= rate <= 1 for rate in rates)
        full = 1.0 if is_share else max(max(rates), 1e-12)
        for name, rate, weight in zip(self.groups.group_names, state["rates"], state["weights"], strict=True):
            is_worst = rate == state["worst"]
            bar = ProgressBar(total=full, completed=0.0 if rate != rate else min(max(rate, 0.0), full), width=_BAR_WIDTH)
            number = Text(_number(rate) + (" worst" if is_worst else ""), style="bold" if is_worst else "")
            body.add_row(name, bar, number, "" if weight is None else f"weight {weight:.2f}")
        return Group(head, body)


def _number(rate: float) -> str:
    return "insufficient" if rate != rate else f"{rate:.3f}"
