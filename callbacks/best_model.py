"""Which of the models of a training run is the best for the worst-off group."""

from sb3_grpo.common.checks import check_whole, is_number


class BestModel:
    """The highest worst rate among models that are efficient enough, and how long ago it was found.

    :param min_efficiency: least efficiency
    :param min_efficiency_share: least share of a reference's efficiency
    :param patience: number of evaluations without a new best after which waiting for one is over; None: never
    :raises ValueError: if an argument is not what it must be
    """

    def __init__(
        self, min_efficiency: float | None = None, min_efficiency_share: float | None = None, patience: int | None = None
    ) -> None:
        if min_efficiency is not None and not is_number(min_efficiency):
            raise ValueError(f"min_efficiency: got {min_efficiency!r}, expected a number, or None")
        if min_efficiency_share is not None and not (is_number(min_efficiency_share) and 0 < min_efficiency_share):
            raise ValueError(f"min_efficiency_share: got {min_efficiency_share!r}, expected a number > 0, or None")
        if patience is not None:
            check_whole("patience", patience, 1)
        self.min_efficiency = min_efficiency
        self.min_efficiency_share = min_efficiency_share
        self.patience = patience
        self.reference_efficiency: float | None = None
        self.worst = -float("inf")
        self.n_evaluations = 0
        self._best_at = 0

    @property
    def found(self) -> bool:
        """Whether there is a best model."""
        return self._best_at > 0

    @property
    def is_exhausted(self) -> bool:
        """Whether the last ``patience`` evaluations brought no new best."""
        return self.patience is not None and self.n_evaluations - self._best_at >= self.patience

    def set_reference(self, efficiency: float) -> None:
        """What ``min_efficiency_share`` is a share of.

        :raises ValueError: if it is not positive, so that no share of it is a floor
        """
        if self.min_efficiency_share is not None and not efficiency > 0:
            raise ValueError(
                f"min_efficiency_share: got {self.min_efficiency_share!r} of a reference with efficiency {efficiency:.3g}, "
                "expected a reference with a positive one, or min_efficiency="
            )
        self.reference_efficiency = efficiency

    def floor(self) -> float:
        """Least efficiency of a best model; minus infinity without any demand."""
        floors = [-float("inf")]
        if self.min_efficiency is not None:
            floors.append(self.min_efficiency)
        if self.min_efficiency_share is not None and self.reference_efficiency is not None:
            floors.append(self.min_efficiency_share * self.reference_efficiency)
        return max(floors)

    def update(self, worst: float, efficiency: float) -> bool:
        """Take an evaluation into account.

        :param worst: rate of the worst-off group; NaN if no group has a rate: then nothing can be said, and nothing counts
        :param efficiency: efficiency
        :return: whether this model is the best so far
        """
        if worst != worst:
            return False
        self.n_evaluations += 1
        if not (efficiency >= self.floor() and worst > self.worst):
            return False
        self.worst, self._best_at = worst, self.n_evaluations
        return True
