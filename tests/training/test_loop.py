"""The loop: same curve on any number of processes, same weights after any kill, clear failures."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from petdiff.data.array_store import Entry, Store
from petdiff.errors import InputRefused, PetdiffError, UsageError
from petdiff.methods.base import Objective
from petdiff.training.checkpoint import Checkpoints
from petdiff.training.loop import update_ema
from petdiff.training.messages import describe_end
from petdiff.training.process_group import ProcessGroup
from petdiff.training.recipe import Recipe
from petdiff.training.schedule import expected_steps, learning_rate
from petdiff.training.steps import gradients, load_batches, patch_numbers, require_even_share
from petdiff.training.supply.examples import ExampleMaker
from petdiff.training.supply.paired_volumes import PairedVolumes
from petdiff.training.supply.patches import PatchCutter
from petdiff.training.supply.workers import ExampleSupply, remove_failures
from petdiff.training.validation import Scores, Validation
from support.little_training import (
    RECIPE,
    Little,
    little_volumes,
    train_little,
    volumes_with_nan,
)

LITTLE = Path(__file__).parents[1] / "support" / "little_training.py"
ALONE = ProcessGroup(0, 1, torch.device("cpu"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread, as the compared programs do: sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], Path]:
    """Weights and folder of a run that nothing disturbed."""
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("uninterrupted")
    method, _ = train_little(run)
    return method.network.state_dict(), run


def log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def run_little(*arguments: object) -> str:
    command = [sys.executable, str(LITTLE), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def assert_same(weights: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, others[name]), name


def test_killed_ten_times_it_ends_with_the_same_weights(
    uninterrupted: tuple[dict[str, Tensor], Path], tmp_path: Path
) -> None:
    said = run_little(tmp_path, "killed", 10)
    assert said.startswith("killed 10,")
    weights, run = uninterrupted
    assert_same(torch.load(tmp_path / "weights.pt", weights_only=True), weights)
    told = [[line.get("step") for line in log(where)] for where in (run, tmp_path)]
    assert told[0] == told[1]


def test_two_processes_give_the_curve_of_one(
    uninterrupted: tuple[dict[str, Tensor], Path], tmp_path: Path
) -> None:
    run_little(tmp_path, "shared", 2)
    weights, run = uninterrupted
    alone, shared = log(run), log(tmp_path)
    assert (alone[0]["processes"], shared[0]["processes"]) == (1, 2)
    assert len(alone) == len(shared) == 1 + RECIPE.steps // 10
    for one, two in zip(alone[1:], shared[1:], strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    together = torch.load(tmp_path / "weights.pt", weights_only=True)
    for name, tensor in weights.items():
        torch.testing.assert_close(together[name], tensor, rtol=1e-5, atol=1e-6)


def test_the_model_has_a_share_of_the_initial_weights(
    uninterrupted: tuple[dict[str, Tensor], Path], tmp_path: Path
) -> None:
    recipe = RECIPE.model_copy(update={"init": "flow3d", "init_share": 0.25})
    (tmp_path / "only").mkdir()
    initial, _ = train_little(tmp_path / "only", recipe.model_copy(update={"init_share": 1.0}))
    mixed, _ = train_little(tmp_path, recipe)
    trained = uninterrupted[0]
    changes = []
    for name, weight in mixed.network.state_dict().items():
        start = initial.network.state_dict()[name]
        torch.testing.assert_close(weight, 0.25 * start + 0.75 * trained[name])
        changes.append((trained[name] - start).abs().max().item())
    assert max(changes) > 0.01


def test_worker_processes_change_nothing(
    uninterrupted: tuple[dict[str, Tensor], Path], tmp_path: Path
) -> None:
    method, _ = train_little(tmp_path, workers=1)
    assert_same(method.network.state_dict(), uninterrupted[0])


def test_a_finished_run_gives_its_weights_again(
    uninterrupted: tuple[dict[str, Tensor], Path],
) -> None:
    weights, run = uninterrupted
    before = log(run)
    method, state = train_little(run)
    assert_same(method.network.state_dict(), weights)
    assert state.step == RECIPE.steps
    assert log(run) == before


def test_loss_falls_and_old_volumes_are_removed(
    uninterrupted: tuple[dict[str, Tensor], Path],
) -> None:
    _, run = uninterrupted
    first, *_, last = (line["loss"]["error"] for line in log(run) if "loss" in line)
    assert last < 0.5 * first
    numbers = sorted(int(path.name[7:]) for path in (run / "supply").glob("volume-*"))
    ended_at = RECIPE.steps * RECIPE.batch // RECIPE.patches_per_volume
    assert numbers[0] == ended_at - RECIPE.pool + 1


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="multiple of 3"):
        require_even_share(RECIPE, ProcessGroup(0, 3, torch.device("cpu")))


class Explodes(Little):
    """Its first loss is not a number from the third step on."""

    steps = 0

    def objectives(self) -> list[Objective]:
        first, second = super().objectives()

        def error(batch: Tensor, generator: torch.Generator) -> Tensor:
            self.steps += 1
            loss = first.loss(batch, generator)
            return loss * torch.nan if self.steps == 2 * RECIPE.batch + 2 else loss

        return [Objective(first.name, first.parameters, error), second]


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    torch.manual_seed(0)
    method = Explodes()
    kept = RECIPE.model_copy(update={"save_every": 2})
    with pytest.raises(PetdiffError, match=r"step 3, patches 9 of seed 0"):
        train_little(tmp_path, kept, method=method)
    assert all(parameter.isfinite().all() for parameter in method.trained.parameters())
    held = Checkpoints(tmp_path / "checkpoints").load(2)
    for name, tensor in method.trained.state_dict().items():
        assert torch.equal(tensor, held["trained"][name]), "weights are those of the last step"


def test_a_gradient_that_is_not_finite_is_not_taken() -> None:
    weight = nn.Parameter(torch.zeros(1))
    objective = Objective("root", [weight], lambda batch, generator: weight.sqrt().sum())
    recipe = Recipe(batch=1)
    with pytest.raises(PetdiffError, match=r"gradient is not finite in step 8, patches 7 of"):
        gradients([objective], [(0, torch.zeros(1))], recipe, ALONE, 7, torch.float32)


def test_gradients_are_those_of_the_mean_over_the_batch() -> None:
    weight, other = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(3.0))
    objectives = [
        Objective("product", [weight], lambda batch, generator: (weight * other * batch).mean()),
        Objective("square", [other], lambda batch, generator: (other * batch).square().mean()),
    ]
    batch = [(c, torch.tensor([float(c), c + 1.0])) for c in range(2)]
    recipe = Recipe(batch=4, micro_batch=2, max_grad_norm=100.0)
    losses = gradients(objectives, batch, recipe, ALONE, 0, torch.float32)
    assert losses == pytest.approx({"product": 2 * 3 * 1.0, "square": 9 * 1.5})
    assert weight.grad is not None
    assert other.grad is not None
    assert weight.grad.item() == pytest.approx(3 * 1.0)
    assert other.grad.item() == pytest.approx(2 * 3 * 1.5)  # nothing of the first loss in it


def test_patches_of_a_run_are_each_taken_once() -> None:
    recipe = Recipe(batch=6, micro_batch=2)
    taken = [p for step in range(5) for c in range(3) for p in patch_numbers(recipe, step, c)]
    assert taken == list(range(30))


def test_learning_rate_rises_straight_and_falls_as_a_cosine() -> None:
    recipe = Recipe(steps=1100, warmup=100, learning_rate=1.0)
    rates = [learning_rate(recipe, step) for step in range(1100)]
    assert rates[49] == pytest.approx(0.5)
    assert rates[100] == 1
    assert rates[600] == pytest.approx(0.5)
    assert rates[350] == pytest.approx(0.5 + 0.5 / np.sqrt(2))
    assert 0 < rates[-1] < 1e-5


def test_a_short_run_leaves_warm_up_after_a_tenth() -> None:
    by_steps = Recipe(steps=100, warmup=200, learning_rate=1.0)
    rates = [learning_rate(by_steps, step) for step in range(100)]
    assert rates[9] == rates[10] == 1
    assert rates[98] < 0.01
    by_time = Recipe(warmup=200, learning_rate=1.0, seconds=100.0)
    rates = [learning_rate(by_time, step, 2.0 * step) for step in range(51)]
    assert rates[4] == pytest.approx(0.8)
    assert max(rates) > 0.97
    assert rates[50] == pytest.approx(0, abs=1e-9)
    assert expected_steps(by_time, 10, 20.0) == 50
    assert expected_steps(by_steps, 10, 20.0) == 100


def test_a_budget_of_seconds_ends_a_run_and_lets_the_rate_fall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: 0.01 * next(readings))  # read thrice in a step
    monkeypatch.setattr("petdiff.training.log.time", clock)
    recipe = RECIPE.model_copy(update={"seconds": 0.3, "steps": 1000, "save_every": 1000})
    _, state = train_little(tmp_path, recipe)
    assert 5 < state.step < 15
    assert state.seconds >= 0.3
    assert Checkpoints(tmp_path / "checkpoints").steps() == [state.step]
    assert [line["step"] for line in log(tmp_path)[1:]][-1] == state.step
    _, again = train_little(tmp_path, recipe)
    assert again == state
    flat = Recipe(steps=10**9, warmup=0, learning_rate=1.0, seconds=100.0)
    assert [learning_rate(flat, 5, s) for s in (0, 50, 100, 200)] == pytest.approx([1, 0.5, 0, 0])


class FakeValidation(Validation):
    """Scores by number of the validation, in turn."""

    decibels = (30.0, 31.0, 30.9, 30.8, 30.7, 32.0, 31.0, 30.0)

    def score(self, *_: object) -> Scores:
        done = len(list(self.store.folder.parent.glob("validated-*")))
        (self.store.folder.parent / f"validated-{done}").touch()
        return Scores({"4": self.decibels[done]}, {"4": 29.0})


def test_training_stops_when_validations_bring_no_gain_and_goes_on_with_more_patience(
    tmp_path: Path,
) -> None:
    validation = FakeValidation(Store(tmp_path / "supply"), ["one"], 1)
    recipe = RECIPE.model_copy(update={"validate_every": 5, "patience": 2})
    method, state = train_little(tmp_path, recipe, validation=validation)
    assert (state.step, state.best, state.validations_without_gain) == (20, 10, 2)
    best = Checkpoints(tmp_path / "checkpoints").load(10)["average"]
    assert isinstance(best, dict)
    assert_same(method.network.state_dict(), best)
    [line, *_] = describe_end(state, recipe, None)
    assert "stopped after step 20: 2 validations brought no gain" in line
    assert "weights of step 10" in line
    assert (
        "not show a gain on real low-dose scans"
        in describe_end(state, recipe, None, thinned=True)[1]
    )
    _, again = train_little(tmp_path, recipe, validation=validation)
    assert again == state
    patient = recipe.model_copy(update={"patience": 4})
    _, later = train_little(tmp_path, patient, validation=validation)
    assert (later.step, later.best) == (40, 30)
    assert describe_end(later, patient, None) == []


def test_the_average_follows_the_weights() -> None:
    average, network = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.constant_(average.weight, 0.0)
    network.running_mean += 5
    update_ema(average, network, 0.75)
    assert average.weight.tolist() == [0.25, 0.25]
    assert average.running_mean.tolist() == [5, 5]


def test_the_last_three_checkpoints_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "new")
    for step in range(1, 7):
        checkpoints.save(step, {"step": step}, best=2)
    assert checkpoints.steps() == [2, 4, 5, 6]
    assert checkpoints.load(2) == {"step": 2}


def test_a_broken_checkpoint_is_refused_and_a_whole_one_replaces_it_at_once(tmp_path: Path) -> None:
    path = tmp_path / "step-00000001.pt"
    path.write_bytes(b"not weights")
    with pytest.raises(InputRefused, match="not a training checkpoint"):
        Checkpoints(tmp_path).load(1)
    Checkpoints(tmp_path).save(1, {"step": 3}, None)
    assert Checkpoints(tmp_path).load(1) == {"step": 3}
    assert [f.name for f in tmp_path.iterdir()] == [path.name]


def test_a_full_disk_leaves_the_last_checkpoint_and_says_so(small_disk: Path) -> None:
    checkpoints = Checkpoints(small_disk / "checkpoints")
    checkpoints.save(1, {"weights": torch.ones(1000)}, None)
    with pytest.raises(PetdiffError, match=r"disk of .* is full.*make room"):
        checkpoints.save(2, {"weights": torch.ones(1_000_000)}, None)
    assert [f.name for f in checkpoints.folder.iterdir()] == ["step-00000001.pt"]
    assert checkpoints.load(1)["weights"].sum() == 1000


def test_nan_in_a_volume_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(PetdiffError, match="training volume 0 holds NaN"):
        train_little(tmp_path, source=volumes_with_nan, workers=0)


def test_nan_in_a_workers_volume_is_the_same_line_and_forgotten_at_the_next_start(
    tmp_path: Path,
) -> None:
    with pytest.raises(PetdiffError, match="training volume 0 holds NaN"):
        train_little(tmp_path, source=volumes_with_nan, workers=1)
    store = Store(tmp_path / "supply")
    store.put("scan-0", {}, {})
    assert store.names() == ["failed-0", "scan-0"]
    remove_failures(store)
    assert store.names() == ["scan-0"]


def test_each_process_requests_what_any_process_may_need() -> None:
    recipe = RECIPE.model_copy(update={"patches_per_volume": 3})
    requested: list[list[int]] = []
    for rank in range(2):
        told: list[int] = []

        def entry(index: int, told: list[int] = told) -> Entry:
            assert index <= told[-1]
            return Entry(
                {"examples": np.ones((1, 2, 8, 8, 6)), "uptake": np.ones((1, 2, 2, 2))}, {}
            )

        patches = PatchCutter(entry, 0, (8, 8, 6), recipe.pool, recipe.patches_per_volume, 0.0)
        group = ProcessGroup(rank, 2, torch.device("cpu"))
        assert len(list(load_batches(patches, recipe, group, 0, told.append))) == recipe.steps
        requested.append(told)
    assert requested[0] == requested[1]
    assert requested[0][-1] == (recipe.steps * recipe.batch - 1) // recipe.patches_per_volume


def test_processes_with_unlike_numbers_of_workers_make_every_volume_between_them(
    tmp_path: Path,
) -> None:
    """The first process has one worker and the second two, as on machines of unlike size."""

    class Third(ProcessGroup):
        def gather(self, part: dict[str, int]) -> dict[str, int]:
            return {"0": 1, "1": 2, **part}

    cpu = torch.device("cpu")
    assert Third(2, 3, cpu).offset_and_total(4) == (3, 7)
    assert ProcessGroup(0, 1, cpu).offset_and_total(5) == (0, 5)
    method = Little()
    maker = ExampleMaker(
        Store(tmp_path), partial(little_volumes, RECIPE.seed), method.example, method.patch
    )
    supplies = [ExampleSupply(maker, 0, 1, 0, 3), ExampleSupply(maker, 0, 2, 1, 3)]
    try:
        for supply in supplies:
            supply.request(5)
        for index in range(6):
            assert supplies[index % 2](index).arrays
    finally:
        for supply in supplies:
            supply.close()


def all_air(number: int) -> PairedVolumes:
    full = np.zeros((16, 14, 12), np.float32)
    full[0, 0, 0] = 1
    return PairedVolumes(full, {2.0: full})


def test_patches_of_air_are_handled(tmp_path: Path) -> None:
    _, state = train_little(tmp_path, RECIPE.model_copy(update={"steps": 2}), source=all_air)
    assert state.step == 2


def test_flow3d_bears_patches_of_air() -> None:
    from petdiff.methods.flow3d import Flow3D

    torch.manual_seed(0)
    method = Flow3D.create("tiny")
    low = torch.zeros(24, 24, 24)
    low[:4, :4, :4] = 1
    example = method.example(low, low)[None, :, 8:, 8:, 8:]
    [objective] = method.objectives()
    loss = objective.loss(example, torch.Generator().manual_seed(0))
    loss.backward(inputs=objective.parameters)
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in objective.parameters if p.grad is not None)


def test_a_little_volumes_is_the_same_for_the_same_index_and_another_for_the_next() -> None:
    draw = partial(little_volumes, 0)
    assert draw(3).full.tobytes() == draw(3).full.tobytes()
    assert draw(3).full.tobytes() != draw(4).full.tobytes()
