"""`petdiff train` from a folder of pairs to a model that denoises."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from petdiff import cli
from petdiff.image import PETImage

CONFIG = """
preset = "tiny"
steps = 2
warmup = 1
validate_every = 1
"""


def write_patient(folder: Path, seed: int) -> None:
    """An ellipsoid with hot spots, at full dose and at 1/20 of its counts."""
    from petdiff.io import write

    rng = np.random.default_rng(seed)
    place = np.indices((40, 36, 44)) - np.array([20, 18, 22])[:, None, None, None]
    half = np.array([16, 12, 19])[:, None, None, None]
    truth = 0.02 + 0.9 * (((place / half) ** 2).sum(0) < 1)
    for _ in range(4):
        away = place - rng.uniform(-8, 8, 3)[:, None, None, None]
        truth = truth + ((away**2).sum(0) < rng.uniform(4, 30)) * rng.uniform(0.5, 3)
    full = rng.poisson(300 * truth)
    low = rng.binomial(full, 0.05)
    affine = np.diag([-4.0, -4.0, 4.0, 1.0])
    folder.mkdir(parents=True)
    write(PETImage((full / 300).astype(np.float32), affine), folder / "full.nii.gz")
    write(PETImage((low / 15).astype(np.float32), affine), folder / "low_drf20.nii.gz")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    for seed in range(3):
        write_patient(folder / f"patient{seed}", seed)
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "recipe.toml"
    path.write_text(CONFIG)
    return path


def was_known(cohort: Path, patients: list[str]) -> Counter[bool]:
    """Count the patients that a model's card lists, and the others."""
    from petdiff.data.fingerprint import was_trained_on
    from petdiff.io import read

    scans = [read(path) for path in sorted(cohort.glob("*/full.nii.gz"))]
    return Counter(was_trained_on(scan, patients) for scan in scans)


def test_two_processes_of_torchrun_train_the_model_of_one(cohort: Path, tmp_path: Path) -> None:
    from petdiff.methods.model import load_model

    config, alone, shared = tmp_path / "recipe.toml", tmp_path / "alone", tmp_path / "shared"
    config.write_text(f"{CONFIG}batch = 2\nmicro_batch = 1\npool = 2\npatches_per_volume = 2")
    arguments = ["train", "flow3d", "--data", str(cohort), "--config", str(config), "--quiet"]
    arguments += ["--device", "cpu"]
    assert cli.run([*arguments, "-o", str(alone)]) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    together = subprocess.run(
        [*torchrun, "-m", "petdiff", *arguments, "-o", str(shared)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert together.returncode == 0, together.stderr[-2000:]
    assert together.stdout.split() == [str(shared / "model.safetensors")]
    one, two = (load_model(run / "model.safetensors") for run in (alone, shared))
    others = two.network.state_dict()
    for name, weight in one.network.state_dict().items():
        torch.testing.assert_close(others[name], weight, rtol=1e-3, atol=1e-4)
    logs = [
        [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        for run in (alone, shared)
    ]
    assert [log[0]["processes"] for log in logs] == [1, 2]
    assert [[line.get("step") for line in log] for log in logs] == [[None, 1, 2, 2]] * 2
    scores = [[line["psnr_db"]["model"] for line in log if "psnr_db" in line] for log in logs]
    for first, second in zip(*scores, strict=True):
        assert second == pytest.approx(first, abs=0.01)


def test_own_pairs_become_a_model_that_denoises(
    cohort: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train = ["train", "flow3d", "-o", str(run), "--data", str(cohort), "--config", str(config)]
    assert cli.run([*train, "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    model = run / "model.safetensors"
    assert printed.out.split() == [str(model)]
    assert "3 patients" in printed.err

    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    [validated] = [line for line in lines if "psnr_db" in line and line["step"] == 1]
    assert set(validated["psnr_db"]["model"]) == {"20"}
    pictures = sorted(path.name for path in (run / "validation").iterdir())
    assert pictures == ["step-00000001.png", "step-00000002.png"]
    assert not (run / "supply").exists()
    assert "validation, step 1: PSNR " in printed.err

    from petdiff.methods.model import read_card

    card = read_card(model)
    record = card.training
    assert record["data"] == (
        "2 pairs of scans of 2 patients (2 at 1/20 dose); validated on 1 patient more"
    )
    assert (card.title, card.licence) == ("flow3d trained on pairs of 2 patients", "not stated")
    assert was_known(cohort, record["patients"]) == {False: 1, True: 2}
    assert (record["steps"], record["patches"]) == (2, 4)
    assert record["psnr_db"]["model"]["20"] > 0
    assert record["recipe"]["preset"] == "tiny"
    assert not {"volume_cache", "workers", "init"} & set(record["recipe"]), "no paths, no machine"
    assert "patient" not in json.dumps(record["recipe"]), "no names of patients leave the run"

    low = cohort / "patient0" / "low_drf20.nii.gz"
    assert cli.run(["denoise", str(low), "-o", str(tmp_path / "out"), "--model", str(model)]) == 0
    assert (tmp_path / "out" / "denoised.nii.gz").is_file()

    weights = model.read_bytes()
    assert cli.run([*train, "--resume", "--quiet"]) == 0  # finished: nothing is left to do
    assert model.read_bytes() == weights
    capsys.readouterr()
    assert cli.run([*train, "--resume", "--preset", "default"]) == 2
    assert 'preset was "tiny", is "default"' in capsys.readouterr().err
    assert cli.run(train) == 2
    assert "--resume" in capsys.readouterr().err


def test_one_patient_is_refused_and_nothing_is_written(
    cohort: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(cohort / "patient0", alone / "patient0")
    arguments = ["train", "flow3d", "-o", str(tmp_path / "run"), "--data", str(alone)]
    assert cli.run([*arguments, "--config", str(config)]) == 3
    assert "one patient" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_full_dose_scans_alone_adapt_a_model(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where they are in no SUV. One of them is of a low dose, which is said."""
    from petdiff.io import read_static, write
    from petdiff.methods.flow3d import Flow3D
    from petdiff.methods.model import read_card, save_model

    scans = tmp_path / "scans"
    scans.mkdir()
    for n, name in enumerate(("full", "full", "full", "low_drf20")):
        scan = read_static(cohort / f"patient{n % 3}" / f"{name}.nii.gz")
        write(scan.with_values(scan.values * 5000), scans / f"p{n}.nii.gz")
    base, run, config = tmp_path / "base.safetensors", tmp_path / "run", tmp_path / "recipe.toml"
    method = Flow3D.create("tiny")
    save_model(base, method.network, method.card({}), torch.float32)
    config.write_text('preset = "tiny"\nsteps = 1\nsimulated_share = 0.0\n')
    train = ["train", "flow3d", "-o", str(run), "--data", str(scans), "--config", str(config)]
    assert cli.run([*train, "--init", str(base), "--device", "cpu"]) == 0
    said = capsys.readouterr().err
    assert "4 full-dose scans of 4 patients, which will be thinned" in said
    assert "p3: left out, as noisy as " in said
    assert "by dose 1/4: " in said
    assert "alarm of base.safetensors belong to its weights" in said
    card = read_card(run / "model.safetensors")
    assert card.title == "flow3d fine-tuned on 2 full-dose scans"
    assert str(card.training["data"]) == (
        "2 full-dose scans, thinned to 1/1.35 to 1/20 of their dose; validated on scans of other "
        "patients; started from the weights of base.safetensors and mixed with 50% of them"
    )
    assert "no calibrated intervals" in card.limits
    weights = (run / "model.safetensors").read_bytes()
    resumed = [*train, "--init", str(base), "--device", "cpu", "--resume", "--quiet"]
    assert cli.run(resumed) == 0
    assert (run / "model.safetensors").read_bytes() == weights
    for name in ("p1", "p2", "p3"):
        (scans / f"{name}.nii.gz").unlink()
    assert cli.run([*train[:3], str(tmp_path / "other"), *train[4:]]) == 3
    assert "holds one patient" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["flow4d"], "did you mean flow3d?"),
        (["flow3d", "--preset", "huge"], "huge"),
        (["flow3d", "--data", "nowhere"], "--data is nowhere: not a folder of scans"),
        (["flow3d", "--device", "abacus"], "abacus"),
    ],
)
def test_what_cannot_be_trained_exits_2_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert cli.run(["train", *arguments, "-o", str(tmp_path / "run")]) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("scanner", "tracer", "says"),
    [("quadro", "fdg", "quadra"), ("quadra", "fbg", "fdg")],
)
def test_an_unknown_scanner_or_tracer_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scanner: str, tracer: str, says: str
) -> None:
    config = tmp_path / "recipe.toml"
    config.write_text(f'scanner = "{scanner}"\ntracer = "{tracer}"\n')
    run = tmp_path / "run"
    assert cli.run(["train", "flow3d", "-o", str(run), "--config", str(config)]) == 2
    assert says in capsys.readouterr().err
    assert not run.exists()


def test_a_simulated_scanner_beside_own_pairs_is_refused(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "recipe.toml"
    config.write_text('scanner = "quadra"\ntracer = "fdg"\n')
    arguments = ["train", "flow3d", "-o", str(tmp_path / "run"), "--data", str(cohort)]
    assert cli.run([*arguments, "--config", str(config)]) == 2
    assert "among simulated scans" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "init", "says"),
    [
        (["flow3d"], "flow4d", "flow4d"),
        (["logunet"], "flow3d", "its domain is local_activity, not log_suv"),
        (
            ["flow3d", "--preset", "tiny"],
            "flow3d",
            "its network has widths 48, 96, 128 and blocks 1, 1, 2; that of flow3d with preset "
            "tiny has widths 16, 32, 48 and blocks 1, 1, 1: choose the --preset of the model",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], init: str, says: str
) -> None:
    config = tmp_path / "recipe.toml"
    config.write_text(f'init = "{init}"')
    run = tmp_path / "run"
    assert cli.run(["train", *arguments, "-o", str(run), "--config", str(config)]) == 2
    assert says in capsys.readouterr().err
    assert not run.exists()


def test_a_2d_network_starts_from_the_kernels_of_a_3d_one_summed_along_the_axis(
    cohort: Path, tmp_path: Path
) -> None:
    from petdiff.methods.flow3d import Flow3D
    from petdiff.methods.model import load_model, save_model
    from petdiff.networks.unet import flattened

    base, run, config = tmp_path / "base.safetensors", tmp_path / "run", tmp_path / "recipe.toml"
    method = Flow3D.create("tiny")
    torch.nn.init.normal_(method.network.head.weight)  # fresh ones are 0
    save_model(base, method.network, method.card({}), torch.float32)
    plain = 'preset = "tiny"\nsteps = 1\nlearning_rate = 1e-12\nvalidate_every = 0\n'
    config.write_text(f"{plain}simulated_share = 0.0\n")
    train = ["train", "ddpm2d", "-o", str(run), "--data", str(cohort), "--config", str(config)]
    assert cli.run([*train, "--init", str(base), "--device", "cpu", "--quiet"]) == 0
    trained = load_model(run / "model.safetensors").network.state_dict()
    expected = flattened(method.network).state_dict()
    assert expected["stem.weight"].shape == (16, 24, 3, 3)
    for name, weight in expected.items():
        torch.testing.assert_close(trained[name], weight, rtol=1e-3, atol=1e-3)
    # And a 2-D network from one that is 2-D already:
    train[3] = str(tmp_path / "again")
    given = ["--init", str(run / "model.safetensors")]
    assert cli.run([*train, *given, "--device", "cpu", "--quiet"]) == 0
    trained = load_model(tmp_path / "again" / "model.safetensors").network.state_dict()
    for name, weight in expected.items():
        torch.testing.assert_close(trained[name], weight, rtol=1e-3, atol=1e-3)


def test_a_refused_run_leaves_nothing_so_that_the_corrected_command_works(
    cohort: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(cohort, data)
    shutil.copy(data / "patient1" / "full.nii.gz", data / "patient1" / "low_drf20.nii.gz")
    train = ["train", "flow3d", "-o", str(run), "--data", str(data), "--config", str(config)]
    assert cli.run([*train, "--device", "cpu"]) == 3
    assert "equals the full-dose scan voxel by voxel" in capsys.readouterr().err
    assert not run.exists()
    shutil.rmtree(data / "patient1")
    config = tmp_path / "recipe.toml"
    config.write_text('preset = "tiny"\nsteps = 1\nvalidate_every = 0')
    corrected = ["train", "flow3d", "-o", str(run), "--data", str(data), "--config", str(config)]
    assert cli.run([*corrected, "--device", "cpu", "--quiet"]) == 0


def test_a_missing_extra_is_named_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    config = tmp_path / "recipe.toml"
    config.write_text("tensorboard = true")
    run = tmp_path / "run"
    assert cli.run(["train", "flow3d", "-o", str(run), "--config", str(config)]) == 2
    assert "pip install tensorboard" in capsys.readouterr().err
    assert not run.exists()


def test_fine_tuning_scores_the_starting_weights_and_a_finished_run_goes_on(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first model is the base of the second, whose training is then made longer."""
    from petdiff.methods.model import load_model

    config, base, run = tmp_path / "recipe.toml", tmp_path / "base", tmp_path / "run"
    plain = 'preset = "tiny"\nvalidation_scans = 1\nsimulated_share = 0.0\n'
    train = ["train", "flow3d", "--data", str(cohort), "--config", str(config), "--device", "cpu"]

    config.write_text(f"{plain}steps = 2\nvalidate_every = 0")
    assert cli.run([*train, "-o", str(base), "--quiet"]) == 0
    started = f'{plain}init = "{base / "model.safetensors"}"\nname = "Ours"\nlicence = "CC0"\n'
    config.write_text(f"{started}learning_rate = 0.2\nsteps = 2")  # which ruins the weights
    assert cli.run([*train, "-o", str(run)]) == 0
    said = capsys.readouterr().err
    assert "validation, starting weights: PSNR " in said
    assert "no step scored better than the starting weights" in said
    first, kept = (load_model(folder / "model.safetensors") for folder in (base, run))
    for name, weight in first.network.state_dict().items():
        assert weight.equal(kept.network.state_dict()[name])
    assert (kept.card.title, kept.card.licence) == ("Ours", "CC0")
    card = kept.card.training
    assert card["step"] == 0
    licence = {"licence": "not stated"}
    assert card["init"] == {"model": "model.safetensors", "sha256": first.sha256} | licence
    assert card["patients"] == first.card.training["patients"]
    assert first.card.title == "flow3d trained on pairs of 3 patients"

    config.write_text(f"{started}learning_rate = 0.2\nsteps = 3")
    assert cli.run([*train, "-o", str(run), "--resume", "--quiet"]) == 0
    longer = load_model(run / "model.safetensors").card.training
    assert (longer["steps"], longer["recipe"]["steps"]) == (3, 3)
    steps = [json.loads(line).get("step") for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == [None, 0, 2, 2, 3, 3]
