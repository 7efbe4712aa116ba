"""One optimization step: its patches, its noise and the gradients.

The batch of step t is split into micro-batches. The patches and the noise of micro-batch m depend
on (seed, t, m) only, and gradients are summed over micro-batches and processes. So the number of
processes changes the result by rounding only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

from petdiff.errors import PetdiffError, UsageError
from petdiff.methods.base import Objective
from petdiff.training.process_group import ProcessGroup
from petdiff.training.recipe import Recipe
from petdiff.training.supply.patches import PatchCutter

# The micro-batches of a process in one step: their numbers and patches [n, c, i, j, k].
Batch = list[tuple[int, Tensor]]

_PREFETCH = 3  # steps


def load_batches(
    patches: PatchCutter,
    recipe: Recipe,
    group: ProcessGroup,
    first: int,
    request: Callable[[int], None] | None = None,
) -> Iterator[Batch]:
    """Yield this process's batch of each step from `first` on; a thread cuts them in advance.

    request  called with the highest volume number that any process needs for a step, before the
             step's patches are cut
    """

    def load(step: int) -> Batch:
        if request is not None:
            request(patches.volume_numbers((step + 1) * recipe.batch - 1).stop - 1)
        batch = []
        for m in range(group.rank, recipe.micro_batches, group.size):
            patch = torch.stack([patches.cut(p) for p in patch_numbers(recipe, step, m)])
            batch.append((m, patch.pin_memory() if group.device.type == "cuda" else patch))
        return batch

    reader = ThreadPoolExecutor(1)
    try:
        ahead = deque(
            reader.submit(load, step) for step in range(first, min(first + _PREFETCH, recipe.steps))
        )
        for step in range(first, recipe.steps):
            batch = ahead.popleft().result()
            if step + _PREFETCH < recipe.steps:
                ahead.append(reader.submit(load, step + _PREFETCH))
            yield batch
    finally:
        reader.shutdown(wait=False, cancel_futures=True)


def patch_numbers(recipe: Recipe, step: int, micro_batch: int) -> range:
    """Return the numbers of the patches in a micro-batch of a step."""
    first = step * recipe.batch + micro_batch * recipe.patches_per_pass
    return range(first, first + recipe.patches_per_pass)


def noise_seed(seed: int, step: int, micro_batch: int) -> int:
    """Return the seed of all noise that a micro-batch's losses draw."""
    return int(np.random.SeedSequence([seed, 3, step, micro_batch]).generate_state(1)[0])


def gradients(
    objectives: Sequence[Objective],
    batch: Batch,
    recipe: Recipe,
    group: ProcessGroup,
    step: int,
    dtype: torch.dtype,
) -> dict[str, float]:
    """Compute the clipped gradient of each objective's mean loss over the batch.

    The gradients are in `grad` of the parameters. All are computed before any optimizer step.

    dtype  of the convolutions: float32, or a lower precision by autocast

    Returns the losses by name. Raises PetdiffError that names the patches if a loss or a gradient
    is not finite.
    """
    losses = torch.zeros(len(objectives), recipe.micro_batches, device=group.device)
    parameters = [parameter for objective in objectives for parameter in objective.parameters]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    low_precision = dtype != torch.float32
    for m, patches in batch:
        placed = patches.to(group.device, non_blocking=True)
        for n, objective in enumerate(objectives):
            generator = torch.Generator().manual_seed(noise_seed(recipe.seed, step, m))
            torch.manual_seed(generator.initial_seed())  # for dropout
            with torch.autocast(group.device.type, dtype, enabled=low_precision):
                loss = objective.loss(placed, generator)
            share = loss / recipe.micro_batches
            share.backward(inputs=objective.parameters)  # type: ignore[no-untyped-call]
            losses[n, m] = loss.detach()
    group.sum([*(p.grad for p in parameters if p.grad is not None), losses])
    norms = [nn.utils.clip_grad_norm_(o.parameters, recipe.max_grad_norm) for o in objectives]
    _require_finite(losses, torch.stack(norms), recipe, step)
    means = losses.mean(1).tolist()
    return {objective.name: mean for objective, mean in zip(objectives, means, strict=True)}


def require_even_share(recipe: Recipe, group: ProcessGroup) -> None:
    """Raise UsageError where the processes cannot share the micro-batches of a step evenly."""
    if recipe.micro_batches % group.size:
        multiple = recipe.patches_per_pass * group.size
        raise UsageError(
            f"batch = {recipe.batch} in micro-batches of {recipe.patches_per_pass} cannot be "
            f"shared by {group.size} processes: make it a multiple of {multiple}"
        )


def _require_finite(losses: Tensor, norms: Tensor, recipe: Recipe, step: int) -> None:
    if losses.isfinite().all() and norms.isfinite().all():
        return
    bad = [m for m in range(losses.shape[1]) if not losses[:, m].isfinite().all()]
    numbers = [p for m in bad or range(losses.shape[1]) for p in patch_numbers(recipe, step, m)]
    what = "the loss" if bad else "the gradient"
    raise PetdiffError(
        f"{what} is not finite in step {step + 1}, patches {', '.join(map(str, numbers))} of seed "
        f"{recipe.seed}; the step was skipped, and the checkpoints are intact: lower the "
        "learning rate, or check the data"
    )
