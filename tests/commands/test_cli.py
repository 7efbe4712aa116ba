"""The command line: quick help, frozen options, right exit codes, one clear line, whole results."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer

import petdiff
from petdiff import cli
from petdiff.image import PETImage
from support.model_files import fresh_model_file

OPTIONS = {
    "denoise": "output model steps samples interval dose seed device series units suv-factor "
    "voxel-size to shard cluster quiet",
    "measure": "output mask names sphere lesions kind resample scan frame interval sr json quiet",
    "audit": "output alpha series units suv-factor quiet",
    "simulate": "output tracer extent no-lesions seed patients labels names from scanner dose "
    "voxel-size cluster quiet",
    "accept": "output dose filter phantom model seed device units suv-factor quiet",
    "thin": "output dose seed series units suv-factor to quiet",
    "train": "output data init preset config resume device units suv-factor quiet",
    "evaluate": "output reference test low labels names lesions resample series units suv-factor "
    "workers cluster quiet",
    "module": "",
    "node": "config",
    "suv": "series units suv-factor json",
    "info": "series json",
    "convert": "output",
    "demo": "output seed device quiet",
}
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
Run = Callable[..., SimpleNamespace]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line; gives back its exit code and what it printed."""

    def call(*arguments: object) -> SimpleNamespace:
        code = cli.run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return SimpleNamespace(code=code, out=printed.out, err=printed.err)

    return call


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network with fresh weights, which is enough for everything but quality."""
    return fresh_model_file(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A noisy ball as NIfTI."""
    from petdiff.io import write

    rng = np.random.default_rng(0)
    index = np.indices((20, 22, 24)) - np.array([10, 11, 12])[:, None, None, None]
    suv = 2.0 * ((index**2).sum(0) < 80) + 0.1
    noisy = (suv * rng.gamma(8, 1 / 8, suv.shape)).astype(np.float32)
    path = tmp_path_factory.mktemp("scan") / "low.nii.gz"
    write(PETImage(noisy, AFFINE), path)
    return path


def one_line(text: str) -> bool:
    return text.startswith("petdiff: ") and text.count("\n") == 1


def test_help_is_quick_and_leaves_torch_alone() -> None:
    program = (
        "import sys; from petdiff.cli import run; code = run(['--help']); "
        "heavy = {'torch', 'numpy', 'matplotlib', 'pydicom'} & set(sys.modules); "
        "print(heavy, file=sys.stderr); sys.exit(code or len(heavy))"
    )
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Processor time: on a busy machine the clock on the wall says more of the others.
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0, done.stderr
    assert "denoise" in done.stdout
    assert min(seconds) < 0.5


def test_bare_command_shows_the_help_and_no_error(run: Run) -> None:
    done = run()
    assert (done.code, done.err) == (2, "")
    assert "denoise" in done.out
    assert "train" in done.out


def test_wrong_usage_names_the_help_of_the_command(run: Run) -> None:
    for command, wrong in (("petdiff node", ["node"]), ("petdiff denoise", ["denoise", "--x"])):
        done = run(*wrong)
        assert done.code == 2
        assert one_line(done.err)
        assert done.err.endswith(f"({command} --help lists what there is)\n")


def test_version_is_one_line(run: Run) -> None:
    done = run("--version")
    assert (done.code, done.out, done.err) == (0, f"petdiff {petdiff.__version__}\n", "")


def test_shell_completion_knows_the_commands_and_options() -> None:
    for words, expected in (("petdiff den", "denoise"), ("petdiff denoise --mod", "--model")):
        env = {**os.environ, "_PETDIFF_COMPLETE": "complete_bash", "COMP_WORDS": words}
        env["COMP_CWORD"] = str(len(words.split()) - 1)
        program = "from petdiff.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout.split()) == (0, [expected]), done.stderr


def test_options_are_frozen_and_few() -> None:
    command = typer.main.get_command(cli.app)
    found = {
        name: " ".join(
            parameter.opts[0].removeprefix("--")
            for parameter in verb.params
            if parameter.opts[0].startswith("--")
        )
        for name, verb in command.commands.items()  # type: ignore[attr-defined]
    }
    assert found == OPTIONS
    for verb in command.commands.values():  # type: ignore[attr-defined]
        panels = Counter(
            getattr(option, "rich_help_panel", None)
            for option in verb.params
            # Beside --output and --quiet, which are the same everywhere.
            if option.opts[0].startswith("--") and option.name not in ("output", "quiet")
        )
        # Where the help has panels, none of them is more than a glance.
        assert max(panels.values(), default=0) <= (10 if len(panels) == 1 else 5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "No such command"),
        (["denoize"], "Did you mean 'denoise'"),
        (["--frob"], "No such option"),
        (["denoise"], "Missing"),
        (["denoise", "SCAN"], "--output"),
        (["denoise", "SCAN", "-o", "NEW", "--frob"], "No such option"),
        (["denoise", "SCAN", "-o", "NEW", "--samples", "0"], "--samples"),
        (["denoise", "SCAN", "-o", "NEW", "--units", "kbq"], "'--units': 'kbq' is not one of"),
        (["denoise", "SCAN", "-o", "NEW", "--seed", str(2**64)], f"--seed {2**64}: "),
        (
            ["denoise", "SCAN", "-o", "NEW", "--dose", "1"],
            "--dose 1 is the full dose: give a share",
        ),
        (["denoise", "SCAN", "-o", "NEW", "--dose", "100%"], "or leave it out for a scan of the"),
        (["denoise", "SCAN", "-o", "NEW", "--voxel-size", "2,2"], "one size or three"),
        (["denoise", "SCAN", "-o", "NEW", "--voxel-size", "0.1"], "--voxel-size (0.1, 0.1, 0.1): "),
        (["denoise", "SCAN", "-o", "NEW", "--voxel-size", "a"], "numbers separated by commas"),
        (["denoise", "SCAN", "-o", "NEW", "--to", "dicom", "--model", "MODEL"], "not DICOM"),
        (["denoise", "SCAN", "-o", "NEW", "--model", "nosuch"], "nosuch"),
        (["denoise", "SCAN", "-o", "NEW", "--model", "MODEL", "--device", "abacus"], "abacus"),
        (["denoise", "SCAN", "-o", "NEW", "--model", "MODEL", "--device", "cuda:99"], "cuda:99"),
        (["denoise", "SCAN", "-o", "SCAN", "--model", "MODEL"], "exists"),
        (["denoise", "SCAN", "-o", "NEW", "--units", "suv", "--suv-factor", "2"], "contradict"),
        (["denoise", "SCAN", "-o", "NEW", "--series", "1.2.3"], "DICOM"),
        (["simulate", "-o", "NEW", "--dose", "4"], "as 1/4"),
        (["simulate", "-o", "NEW", "--scanner", "mri"], "mri"),
        (["simulate", "-o", "NEW", "--extent", "toe"], "toe"),
        (["simulate", "-o", "NEW", "--tracer", "water"], "water"),
        (["train", "magic", "-o", "NEW"], "magic"),
        (["convert", "NEW.pt", "-o", "NEW.safetensors"], "no such file"),
    ],
)
def test_wrong_usage_exits_2_with_one_line_and_writes_nothing(
    run: Run, scan: Path, model: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    real = {"SCAN": str(scan), "MODEL": str(model), "NEW": str(tmp_path / "new")}
    done = run(*(real.get(argument, argument) for argument in arguments))
    lines = [line for line in done.err.splitlines() if line.startswith("petdiff: ")]
    assert (done.code, done.out, len(lines)) == (2, "", 1)
    assert says in lines[0]
    assert list(tmp_path.iterdir()) == []
    assert [entry.name for entry in scan.parent.iterdir()] == [scan.name]


def test_denoised_scan_appears_whole_with_its_record(
    run: Run, scan: Path, model: Path, tmp_path: Path
) -> None:
    from petdiff.io import read

    out = tmp_path / "out"
    done = run("denoise", scan, "-o", out, "--model", model, "--dose", "1/4", "--quiet")
    assert (done.code, done.err) == (0, "")
    names = ["denoised.nii.gz", "preview.png", "report.html", "run.json"]
    assert done.out.split() == [str(out / name) for name in names]
    assert sorted(entry.name for entry in out.iterdir()) == names
    before, after = read(scan), read(out / "denoised.nii.gz")
    np.testing.assert_array_equal(after.affine, before.affine)
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["notice"] == "For research, not a medical device."
    assert record["options"]["seed"] == 0
    assert record["options"]["drf"] == record["denoising"]["drf"] == 4
    assert len(record["denoising"]["model"]["sha256"]) == 64
    assert record["input"]["suv"]["rule"]
    stages = {"reading", "denoising", "writing", "audit", "preview", "page"}
    assert set(record["seconds"]) == stages
    assert record["peak_memory_bytes"]["main"] > 1e7
    change = after.suv.sum(dtype=float) / before.suv.sum(dtype=float) - 1
    assert record["activity"]["relative_change"] == pytest.approx(change, abs=1e-6)


def test_a_model_without_alarm_does_not_pay_for_the_features_of_the_scan(
    run: Run, scan: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described: list[PETImage] = []
    monkeypatch.setattr(
        "petdiff.denoising.scan.scan_features",
        lambda image: described.append(image) or {"tails": 0.0},
    )
    assert run("denoise", scan, "-o", tmp_path / "without", "--model", model).code == 0
    assert not described
    assert run("denoise", scan, "-o", tmp_path / "with", "--model", "flow3d").code == 0
    assert len(described) == 1


def test_info_describes_a_run_by_its_record(
    run: Run, scan: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run("denoise", scan, "-o", out, "--model", model, "--quiet").code == 0
    shown = run("info", out / "run.json")
    for part in ("weights, SHA-256", "SUV rule", "trained on", "note 1"):
        assert part in shown.out
    whole = json.loads(run("info", out / "run.json", "--json").out)
    assert whole == json.loads((out / "run.json").read_text(encoding="utf-8"))
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    refused = run("info", tmp_path / "other.json")
    assert refused.code == 3
    assert one_line(refused.err)
    assert "options" in refused.err
    assert run("info", out / "run.json", "--series", "1.2").code == 2


def test_what_runs_is_said_on_stderr_before_it_runs(
    run: Run, scan: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import petdiff.inference.denoise as inference

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inference, "denoise", stop)
    done = run("denoise", scan, "-o", tmp_path / "out", "--model", model, "--device", "cpu")
    for part in (
        "suv     stored GML · rule:",
        f"model   {model} · sha256",
        "· licence ",
        "device  cpu",
    ):
        assert part in done.err


def test_samples_bring_their_uncertainty_and_the_same_seed_the_same_bytes(
    run: Run, scan: Path, model: Path, tmp_path: Path
) -> None:
    options = ("--model", model, "--samples", 2, "--steps", 2, "--quiet")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("denoise", scan, "-o", tmp_path / name, "--seed", seed, *options).code == 0
    image, spread = (
        [(tmp_path / name / file).read_bytes() for name in "abc"]
        for file in ("denoised.nii.gz", "uncertainty.nii.gz")
    )
    assert image[0] == image[1] == image[2]  # the posterior mean, which no seed moves
    assert spread[0] == spread[1]
    assert spread[0] != spread[2]


def test_interrupt_in_mid_run_exits_130_and_leaves_nothing(
    run: Run, scan: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import petdiff.report.preview as preview

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(preview, "write_preview", stop)
    done = run("denoise", scan, "-o", tmp_path / "out", "--model", model, "--quiet")
    assert done.code == 130
    assert one_line(done.err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_in_mid_run_exits_130_and_leaves_nothing(
    scan: Path, tmp_path: Path, number: signal.Signals
) -> None:
    program = (
        "import signal, sys, time, petdiff.denoising.scan as verb\n"
        # A shell that runs the tests in the background hands on a SIGINT that is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def slow(*_):\n"
        "    print('working', flush=True)\n"
        "    for _ in range(600):\n"  # a signal just before a sleep is handled after it
        "        time.sleep(0.1)\n"
        "verb._load_and_announce = slow\n"
        "from petdiff.cli import main\n"
        f"sys.argv = ['petdiff', 'denoise', {str(scan)!r}, '-o', {str(tmp_path / 'out')!r}]\n"
        "main()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"working\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(number)
        for again in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):  # as some systems do
            process.send_signal(again)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert one_line(err.decode().splitlines(keepends=True)[-1])
    assert b"Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_signal_that_the_caller_ignores_is_ignored(scan: Path, tmp_path: Path) -> None:
    """The caller ignores SIGHUP, as nohup does when the terminal closes."""
    program = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "import petdiff.cli as cli\n"
        "cli.run = lambda _: os.kill(os.getpid(), signal.SIGHUP) or 0\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.returncode == 0, done.stderr


def test_full_disk_exits_1_and_leaves_nothing(
    run: Run, scan: Path, model: Path, small_disk: Path
) -> None:
    done = run("denoise", scan, "-o", small_disk / "out", "--model", model, "--quiet")
    assert (done.code, done.out) == (1, "")
    assert one_line(done.err)
    assert "make room" in done.err
    assert list(small_disk.iterdir()) == []


def test_read_only_disk_exits_1_before_the_work(
    run: Run, scan: Path, model: Path, small_disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = run("denoise", scan, "-o", small_disk / "out", "--model", model)
    assert done.code == 1
    assert one_line(done.err)
    assert "Read-only" in done.err


def test_a_bug_is_one_line_too_and_its_traceback_can_be_had(
    run: Run, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("petdiff.io.read_options.read", broken)
    done = run("denoise", scan, "-o", tmp_path / "out")
    assert done.code == 1
    assert one_line(done.err)
    assert "ZeroDivisionError: by zero" in done.err
    monkeypatch.setenv("PETDIFF_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        run("denoise", scan, "-o", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_file_system_names_its_path_and_no_class(
    run: Run, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", "data/scan")

    monkeypatch.setattr("petdiff.io.read_options.read", refuse)
    done = run("denoise", scan, "-o", tmp_path / "out")
    assert done.code == 1
    assert done.err.startswith("petdiff: data/scan: Permission denied (")


def test_suv_and_info_print_text_and_json(run: Run, scan: Path, model: Path) -> None:
    assert run("suv", scan).out.startswith("SUV = stored value")
    assert json.loads(run("suv", scan, "--json").out)["factor"] == 1
    assert json.loads(run("info", "--json").out)["notice"] == "For research, not a medical device."
    assert json.loads(run("info", scan, "--json").out)["shape"] == [20, 22, 24]
    assert json.loads(run("info", model, "--json").out)["method"] == "flow3d"
    assert "flow3d" in run("info", model).out
    assert "simulated" in run("info", "flow3d").out


def test_evaluate_measures_a_pair(run: Run, scan: Path, tmp_path: Path) -> None:
    from petdiff.io import read, write

    image = read(scan)
    louder = image.with_values(image.suv * 1.1)
    write(louder, tmp_path / "test.nii.gz")
    done = run(
        "evaluate", "--reference", scan, "--test", tmp_path / "test.nii.gz", "--low", scan,
        "--quiet", "-o", tmp_path / "out",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    results = json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))["results"]
    assert results["test"]["activity_change"] == pytest.approx(0.1, abs=1e-4)
    assert results["low"]["nrmse"] == 0
    assert results["best Gaussian"]["fwhm_mm"] == 0
    assert "nrmse" in done.out


def test_evaluate_refuses_scans_on_different_grids(run: Run, scan: Path, tmp_path: Path) -> None:
    from petdiff.io import read, write

    image = read(scan)
    write(PETImage(image.suv[1:], AFFINE), tmp_path / "test.nii.gz")
    options = ("--reference", scan, "--test", tmp_path / "test.nii.gz", "--quiet")
    done = run("evaluate", *options, "-o", tmp_path / "out")
    assert done.code == 3
    assert one_line(done.err)
    assert not (tmp_path / "out").exists()


def test_simulated_patient_has_all_its_files_and_can_be_scanned_again(
    run: Run, tmp_path: Path
) -> None:
    from petdiff.io import read

    options = ("--extent", "head-neck", "--voxel-size", 12, "--dose", "1/4,5%", "--quiet")
    for name, more in (("a", ()), ("b", ()), ("twin", ("--no-lesions",))):
        done = run("simulate", "-o", tmp_path / name, *options, *more)
        assert (done.code, done.out, done.err) == (0, f"{tmp_path / name}\n", "")
    scans = ["full.nii.gz", "low_drf20.nii.gz", "low_drf4.nii.gz", "truth.nii.gz"]
    others = ["labels.json", "labels.nii.gz", "lesions.json", "preview.png", "scan.json"]
    assert sorted(entry.name for entry in (tmp_path / "a").iterdir()) == sorted(scans + others)
    for name in [*scans, "labels.nii.gz"]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    truth, full = read(tmp_path / "a" / "truth.nii.gz"), read(tmp_path / "a" / "full.nii.gz")
    np.testing.assert_array_equal(truth.affine, full.affine)
    assert full.suv.sum() == pytest.approx(truth.suv.sum(), rel=0.1)
    labels = read(tmp_path / "a" / "labels.nii.gz").suv
    names = json.loads((tmp_path / "a" / "labels.json").read_text("utf-8"))
    assert {str(int(label)) for label in np.unique(labels)} - {"0"} == set(names)
    assert json.loads((tmp_path / "twin" / "lesions.json").read_text("utf-8")) == {"lesions": []}


def test_demo_names_pictures_that_are_there(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import petdiff.commands.demo as verb

    monkeypatch.setattr(verb, "_VOXEL_MM", 12.0)
    done = run("demo", "-o", tmp_path / "demo")
    assert done.code == 0, done.err
    pictures = [Path(line) for line in done.out.splitlines()]
    assert [path.suffix for path in pictures] == [".png", ".png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    assert "against the full dose" in done.err
