from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from petdiff.data.full_dose import FullDoseScan
from petdiff.errors import InputRefused, UsageError
from petdiff.training.data import TrainingData
from petdiff.training.log import TrainingLog
from petdiff.training.recipe import FINE_TUNING, Recipe, read_recipe
from petdiff.training.run_folder import RunFolder


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_changes_the_recipe_and_an_option_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, 'preset = "paper"\nsteps = 7\nlearning_rate = 1\n')
    assert read_recipe(path) == Recipe(preset="paper", steps=7, learning_rate=1)
    assert read_recipe(path, preset="tiny").preset == "tiny"
    assert read_recipe(path, preset=None).preset == "paper"
    assert read_recipe(None) == Recipe()


def test_fine_tuning_has_defaults_of_its_own_that_a_file_may_change(tmp_path: Path) -> None:
    fine = read_recipe(written(tmp_path, "patience = 9\n"), init="flow3d")
    assert fine.learning_rate < Recipe().learning_rate
    assert 0 < fine.simulated_share < 1
    assert fine.patience == 9
    page = Path(__file__).parents[2] / "docs" / "reference" / "training.md"
    for name, value in FINE_TUNING.items():
        assert f"\n{name} = {value}" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stepz = 5", "stepz is unknown; did you mean steps"),
        ("xyzzy = 5", "xyzzy is unknown; known are preset, seed"),
        ('steps = "many"', "steps = 'many': Input should be a valid integer"),
        ("steps = true", "steps = True: Input should be a valid integer"),
        ("steps = 0", "steps = 0: Input should be greater than or equal to 1"),
        (f"seed = {2**64}", f"seed = {2**64}: Input should be less than"),
        ("validation_steps = 0", "validation_steps = 0: Input should be greater"),
        ("seconds = -1", "seconds = -1: Input should be greater than or equal to 0"),
        ("seconds = inf", "seconds = inf: Input should be a finite number"),
        ("seconds = nan", "seconds = nan: Input should be a finite number"),
        ("learning_rate = 0", "learning_rate = 0: Input should be greater than 0"),
        ("batch = 3\nmicro_batch = 2", "not a multiple of micro_batch"),
        ("ema = 1.0", "ema = 1.0: Input should be less than 1"),
        ('precision = "int8"', "precision = 'int8': Input should be 'auto', 'float32' or"),
        ('scanner = "quadra"', "scanner and tracer are set together"),
        ("init_share = 0.5", "init_share is the share of another model's weights: set init"),
        ("steps = ", "recipe.toml"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=r"recipe\.toml") as raised:
        read_recipe(written(tmp_path, text))
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("rate = 0.1", "learning_rate"),
        ("chunk = 1", "micro_batch"),
        ("clip = 1.0", "max_grad_norm"),
        ("patches_per_slab = 9", "patches_per_volume"),
        ('kept_slabs = "x"', "volume_cache"),
        ("clinical_share = 0.5", "realistic_share"),
    ],
)
def test_a_setting_by_its_former_name_is_refused_with_the_new_one(
    tmp_path: Path, before: str, now: str
) -> None:
    with pytest.raises(UsageError, match=f"is unknown; it is now called {now}"):
        read_recipe(written(tmp_path, before))


def test_tiny_networks_take_two_patches_at_once_unless_set_otherwise() -> None:
    assert Recipe(preset="tiny").patches_per_pass == 2
    assert Recipe(preset="tiny", batch=3).patches_per_pass == 1
    assert Recipe(preset="tiny", micro_batch=1).patches_per_pass == 1
    assert Recipe().patches_per_pass == 1
    assert Recipe(batch=6, micro_batch=3).micro_batches == 2


def test_the_reference_lists_every_setting_with_its_default() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "training.md"
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    listed = {name: value.strip("`") for name, value in rows}
    assert listed == {name: json.dumps(value) for name, value in Recipe().model_dump().items()}


def opened(folder: Path, recipe: Recipe, method: str = "flow3d") -> None:
    with RunFolder(folder).opened({"method": method}, recipe):
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / "step-00000005.pt").touch()


def test_resuming_with_other_settings_names_them(tmp_path: Path) -> None:
    opened(tmp_path, Recipe())
    opened(tmp_path, Recipe(save_every=7, workers=3, name="a title"))
    with pytest.raises(UsageError, match=r"learning_rate was 0\.001, is 0\.5: use the same"):
        opened(tmp_path, Recipe(learning_rate=0.5))
    with pytest.raises(UsageError, match='method was "flow3d", is "unet3d"'):
        opened(tmp_path, Recipe(), "unet3d")


def test_a_run_may_be_trained_longer_but_not_shorter(tmp_path: Path) -> None:
    opened(tmp_path, Recipe(steps=10, seconds=5.0))
    opened(tmp_path, Recipe(steps=20, seconds=9.0))
    with pytest.raises(UsageError, match="steps was 20, is 10"):
        opened(tmp_path, Recipe(steps=10, seconds=9.0))
    with pytest.raises(UsageError, match=r"seconds was 9\.0, is 5\.0"):
        opened(tmp_path, Recipe(steps=20, seconds=5.0))
    opened(tmp_path, Recipe(steps=20))  # without a limit of seconds
    with pytest.raises(UsageError, match=r"seconds was 0\.0, is 5\.0"):
        opened(tmp_path, Recipe(steps=20, seconds=5.0))


def test_scans_of_training_cannot_become_held_out_when_a_run_is_resumed(tmp_path: Path) -> None:
    """They are split after the run is opened; pairs are listed in its settings."""
    data = TrainingData(scans=[FullDoseScan("p1", "p1", tmp_path / "p1")])

    def resumed(recipe: Recipe) -> None:
        with RunFolder(tmp_path / "run").opened({"data": data.identity(recipe)}, recipe):
            RunFolder(tmp_path / "run").checkpoints.save(5, {}, None)

    resumed(Recipe(validate_every=0))
    resumed(Recipe(validate_every=0))
    with pytest.raises(UsageError, match=r"data was .*held_out"):
        resumed(Recipe(validate_every=100))


def test_a_refused_call_does_not_lengthen_the_run(tmp_path: Path) -> None:
    opened(tmp_path, Recipe(steps=10))
    with pytest.raises(UsageError, match="other settings: seed was 0, is 1: use the same"):
        opened(tmp_path, Recipe(steps=20, seed=1))
    opened(tmp_path, Recipe(steps=10))


def test_unfinished_checkpoints_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    opened(tmp_path, Recipe())
    (tmp_path / "checkpoints" / ".step-00000006.pt.unfinished-0a1b2c3d").touch()
    opened(tmp_path, Recipe())
    left = [entry.name for entry in (tmp_path / "checkpoints").iterdir()]
    assert left == ["step-00000005.pt"]


@pytest.mark.parametrize("name", ["file", "file/run"])
def test_a_run_in_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=rf"{name} cannot be a folder \(\w+ "):
        opened(tmp_path / name, Recipe())


def test_a_new_run_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(InputRefused), RunFolder(run).opened({}, Recipe()):
        RunFolder(run).supply.put("some", {}, {})
        raise InputRefused("a broken scan")
    assert list(tmp_path.iterdir()) == []
    run.mkdir()
    with pytest.raises(InputRefused), RunFolder(run).opened({}, Recipe()):
        raise InputRefused("a broken scan")
    assert list(run.iterdir()) == []


def test_a_run_that_saved_no_step_begins_anew_with_other_settings(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunFolder(tmp_path).opened({}, Recipe()):
        RunFolder(tmp_path).supply.put("of-other-settings", {}, {})
        raise KeyboardInterrupt
    with RunFolder(tmp_path).opened({}, Recipe(learning_rate=0.5)):
        assert RunFolder(tmp_path).supply.names() == []


def test_a_second_training_in_a_folder_is_refused_and_leaves_the_first_alone(
    tmp_path: Path,
) -> None:
    """Also before the first checkpoint, when a resumed run begins anew."""
    run = RunFolder(tmp_path)
    with run.opened({}, Recipe()):
        run.supply.put("of-the-first", {}, {})
        with (
            pytest.raises(UsageError, match="is used by another training: stop that one first"),
            run.opened({}, Recipe()),
        ):
            pass
        assert run.supply.names() == ["of-the-first"]
    with run.opened({}, Recipe()):
        pass
    assert not (tmp_path / "lock").exists()


def test_resuming_takes_out_lines_of_steps_that_are_done_again(tmp_path: Path) -> None:
    lines = [{"recipe": {}}, {"step": 10}, {"step": 20}, {"step": 30}]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4'
    (tmp_path / "log.jsonl").write_text(text)
    TrainingLog(tmp_path, 20, tensorboard=False).write({"step": 30, "again": True})
    kept = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert kept == [*lines[:3], {"step": 30, "again": True}]


def test_curves_are_written_where_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `train` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = TrainingLog(tmp_path, None, tensorboard=True)
    log.write({"step": 10, "loss": {"flow3d": 0.5}})
    log.write({"step": 20, "loss": {"flow3d": 0.25}})
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    points = [(point.step, point.value) for point in curves.Scalars("loss/flow3d")]
    assert points == [(10, 0.5), (20, 0.25)]


def test_curves_without_tensorboard_say_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install tensorboard"):
        TrainingLog(tmp_path, None, tensorboard=True)
