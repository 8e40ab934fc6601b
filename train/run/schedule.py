"""When a run ends and where its learning rate stands: by steps, or by the clock (--max_minutes).

A run that is extended begins a new schedule where it had been complete, with a warm-up and all: a
warm restart (SGDR, arXiv 1608.03983).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from config import TrainConfig, UserError
from train.checkpoint import Progress
from train.optimizer import lr_scale

MEASURING = 0.05
"""Share of a run's time, by the clock, that evaluations on its way may take."""


@dataclass(eq=False)
class Schedule:
    """The schedule of a run."""

    config: TrainConfig
    total: int
    """Steps of the whole run; by the clock, there may be fewer."""
    progress: Progress
    durations: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("step", "evaluate", "save"), 0.0)
    )
    """Seconds that each took last."""
    evaluating: float = 0.0
    """Seconds that the evaluations of this start took, without the first of a new run."""

    def begin_again(self) -> None:
        """Starts the schedule of an extension.

        Raises:
            UserError: there is nothing left to do.
        """
        progress, limit = self.progress, self.config.max_minutes
        if progress.step >= self.total or (limit and progress.seconds >= 60 * limit):
            done = f"{progress.step} steps in {progress.seconds / 60:.1f} min"
            raise UserError(
                f"--extend: the run has done {done} and is asked for no more: raise --max_steps, "
                "--num_train_epochs or --max_minutes (they count from the run's beginning)"
            )
        progress.first_step, progress.first_seconds = progress.step, progress.seconds

    @property
    def seconds_to_train(self) -> float:
        """Seconds of the run that are for steps; the rest is for the last evaluation and save."""
        rest = 1.2 * sum(self.durations.values())
        return max(1.0, 60 * (self.config.max_minutes or 0) - rest)

    def is_over(self, seconds: float) -> bool:
        """Whether the last step is done, after so many seconds of training."""
        if self.progress.step >= self.total or self.config.max_minutes is None:
            return self.progress.step >= self.total
        return seconds >= self.seconds_to_train

    def may_evaluate(self, seconds: float) -> bool:
        """Whether there is time for one more evaluation on the way, after so many seconds; by steps
        there always is. A run by the clock pays for each with steps."""
        if self.config.max_minutes is None:
            return True
        return self.evaluating + self.durations["evaluate"] <= MEASURING * seconds

    def scale(self, seconds: float) -> float:
        """The learning rate as a share of its peak; by the clock, the schedule is further on than
        the steps are."""
        steps = self.total - self.progress.first_step
        position = float(self.progress.step - self.progress.first_step)
        if self.config.max_minutes is not None:
            begin = self.progress.first_seconds
            share = (seconds - begin) / max(1.0, self.seconds_to_train - begin)
            position = max(position, min(1.0, share) * (steps - 1))
        return lr_scale(position, steps, self.config)
