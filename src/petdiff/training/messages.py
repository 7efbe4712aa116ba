"""The messages that are printed during training."""

from __future__ import annotations

from petdiff.data.layouts import NOT_STATED
from petdiff.progress import Progress, Tick
from petdiff.training.card import StartingModel
from petdiff.training.log import LogEntry
from petdiff.training.loop import State
from petdiff.training.recipe import Recipe
from petdiff.training.schedule import expected_steps
from petdiff.training.validation import Scores, mean_psnr

_WAITING_LIMIT = 0.2  # share of the time above which a warning is printed
_WATCHED_ENTRIES = 10


class TrainingMessages:
    """Prints progress, validation scores and one warning where training waits for data."""

    def __init__(self, progress: Progress, tick: Tick, recipe: Recipe) -> None:
        self.progress, self.tick, self.recipe = progress, tick, recipe
        self._waited: list[float] = []
        self._warned = False

    def log(self, entry: LogEntry) -> None:
        """Show an entry of the log."""
        total = expected_steps(self.recipe, entry.step, entry.seconds)
        self.tick(entry.step, total, describe_entry(entry))
        self._warn_of_waiting(entry)

    def validated(self, step: int, scores: Scores) -> None:
        """Show the scores of a validation."""
        self.progress.print(describe_scores(step, scores))

    def _warn_of_waiting(self, entry: LogEntry) -> None:
        self._waited = [*self._waited, entry.waited][-_WATCHED_ENTRIES:]
        mean = sum(self._waited) / len(self._waited)
        if self._warned or len(self._waited) < _WATCHED_ENTRIES or mean <= _WAITING_LIMIT:
            return
        self._warned = True
        self.progress.print(
            f"warning training waits {mean:.0%} of the time for data: more workers help, or a "
            "higher patches_per_volume in a new run"
        )


def describe_entry(entry: LogEntry) -> str:
    """Describe losses, speed and waiting."""
    alone = len(entry.loss) == 1
    losses = [f"{'loss' if alone else name} {value:.3g}" for name, value in entry.loss.items()]
    speed = f"{entry.voxels_per_s / 1e6:.2f} million voxels/s"
    waited = f"{entry.waited:.0%} of the time waiting for data" if entry.waited >= 0.005 else ""
    return " · ".join(filter(None, [" ".join(losses), speed, waited]))


def describe_scores(step: int, scores: Scores) -> str:
    """Describe the PSNR of a validation: mean and by dose, with that of the measured scans."""
    measured = sum(scores.measured.values()) / len(scores.measured)
    mean = mean_psnr({"model": scores.model})
    by_dose = ", ".join(
        f"{dose if dose == NOT_STATED else f'1/{dose}'}: {psnr:.2f} ({scores.measured[dose]:.2f})"
        for dose, psnr in scores.model.items()
        if len(scores.model) > 1
    )
    when = f"step {step}" if step else "starting weights"
    line = f"validation, {when}: PSNR {mean:.2f} dB (measured scans {measured:.2f} dB)"
    return line + (f"; by dose {by_dose}" if by_dose else "")


def describe_end(
    state: State, recipe: Recipe, base: StartingModel | None, *, thinned: bool = False
) -> list[str]:
    """Return the final messages: why the run ended early, and limits of its model.

    thinned  whether the low-dose scans were made by thinning
    """
    lines = []
    if state.is_patience_over(recipe.patience):
        count = state.validations_without_gain
        lines.append(
            f"stopped after step {state.step}: {count} validations brought no gain; the model has "
            f"the averaged weights of step {state.best}"
        )
    if state.best == 0:
        lines.append(
            "warning no step scored better than the starting weights, so the model has these"
        )
    if thinned and state.best:
        lines.append(
            "warning the held-out scans were thinned like the training scans, so a gain on them "
            "does not show a gain on real low-dose scans (documentation: how-to/adapt)"
        )
    if base is not None:
        lines.append(
            f"warning the intervals and the alarm of {base.name} belong to its weights: this model "
            "has neither until it is calibrated (documentation: how-to/adapt)"
        )
    return lines
