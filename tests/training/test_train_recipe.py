from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from petdiff.errors import UsageError
from petdiff.training.log import Journal
from petdiff.training.recipe import Recipe, read_recipe, settle


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_changes_the_recipe_and_an_option_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, 'preset = "paper"\nsteps = 7\nrate = 1\n')
    assert read_recipe(path) == replace(Recipe(), preset="paper", steps=7, rate=1)
    assert read_recipe(path, preset="tiny").preset == "tiny"
    assert read_recipe(path, preset=None).preset == "paper"
    assert read_recipe(None) == Recipe()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stepz = 5", "stepz is unknown; did you mean steps"),
        ("xyzzy = 5", "xyzzy is unknown; there are preset, seed"),
        ('steps = "many"', "steps must be int, not 'many'"),
        ("steps = true", "steps must be int"),
        ("steps = 0", "steps = 0 must be >= 1"),
        ("validation_steps = 0", "validation_steps = 0 must be >= 1"),
        ("seconds = -1", "seconds = -1 must be >= 0"),
        ("seconds = inf", "seconds = inf must be >= 0 and finite"),
        ("seconds = nan", "seconds = nan must be >= 0 and finite"),
        ("batch = 3\nchunk = 2", "no multiple of chunk"),
        ("ema = 1.0", "ema"),
        ('scanner = "quadra"', "scanner and tracer are set together"),
        ("steps = ", "recipe.toml"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=r"recipe\.toml") as raised:
        read_recipe(written(tmp_path, text))
    assert says in str(raised.value)


def test_the_reference_lists_every_setting_with_its_default() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "training.md"
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    listed = {name: value.strip("`") for name, value in rows}
    assert listed == {name: json.dumps(value) for name, value in asdict(Recipe()).items()}


def test_resuming_with_other_settings_names_them(tmp_path: Path) -> None:
    recipe = Recipe()
    settle(tmp_path, {"method": "flow3d"}, recipe, write=True)
    settle(tmp_path, {"method": "flow3d"}, replace(recipe, save_every=7, workers=3), write=True)
    with pytest.raises(UsageError, match=r"rate was 0\.001, is 0\.5: use the same"):
        settle(tmp_path, {"method": "flow3d"}, replace(recipe, rate=0.5), write=True)
    with pytest.raises(UsageError, match='method was "flow3d", is "unet3d"'):
        settle(tmp_path, {"method": "unet3d"}, recipe, write=True)


def test_resuming_takes_out_lines_of_steps_that_are_done_again(tmp_path: Path) -> None:
    lines = [{"recipe": {}}, {"step": 10}, {"step": 20}, {"step": 30}]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4'
    (tmp_path / "log.jsonl").write_text(text)
    Journal(tmp_path, 20, tensorboard=False).line({"step": 30, "again": True})
    kept = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert kept == [*lines[:3], {"step": 30, "again": True}]


def test_curves_are_written_where_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `train` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    journal = Journal(tmp_path, 0, tensorboard=True)
    journal.line({"step": 10, "loss": {"flow3d": 0.5}})
    journal.line({"step": 20, "loss": {"flow3d": 0.25}})
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    points = [(point.step, point.value) for point in curves.Scalars("loss/flow3d")]
    assert points == [(10, 0.5), (20, 0.25)]
