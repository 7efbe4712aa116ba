from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import petdiff
from petdiff.data.array_store import Store
from petdiff.errors import InputRefused
from petdiff.simulation.patient.draw import draw_patient
from petdiff.simulation.patient.tracers import TRACERS
from petdiff.simulation.scan_record import ScanRecord
from petdiff.simulation.scanner.projector import _cached_views
from petdiff.simulation.scanner.scanners import SCANNERS
from petdiff.training.prepare import recipe_volumes
from petdiff.training.recipe import Recipe
from petdiff.training.supply import randomized_scans, simulated, simulated_patients, volume_cache
from petdiff.training.supply.paired_volumes import PairedVolumes
from petdiff.training.supply.randomized_scans import (
    FIRST_SEED,
    LOWS,
    Protocol,
    draw_protocol,
    make_randomized_scan,
    scan_object,
)
from petdiff.training.supply.simulated import MixedVolumes
from petdiff.training.supply.simulated_patients import (
    SimulatedPatients,
    draw_scanner,
    draw_tracer,
    with_hot_marrow,
)
from petdiff.training.supply.volume_cache import CachedVolumes, simulation_version


def test_a_scanned_object_keeps_its_activity_and_its_noise_grows_as_dose_falls() -> None:
    rng = np.random.default_rng(0)
    i, j, _ = np.indices((48, 48, 6))
    inside = ((i - 23.5) ** 2 + (j - 23.5) ** 2 < 18**2).astype(np.float32)
    protocol = Protocol(
        fwhm=1.5, axial_fwhm=1.2, psf_share=1.0, tof_fwhm=0.0, subsets=6, iterations=4,
        scatter_fraction=0.2, randoms_fraction=0.2, counts_per_voxel=200, factors=(4.0, 50.0),
        post_fwhm=0.0, zoom=1.0,
    )  # fmt: skip
    made = scan_object(rng, protocol, inside, 0.097 * inside)
    core = ((i - 23.5) ** 2 + (j - 23.5) ** 2) < 14**2
    means = [image[core].mean() for image in (made.full, *made.lows.values())]
    assert means == pytest.approx([1, 1, 1], rel=0.02)
    deviations = [image[core].std() for image in (made.full, *made.lows.values())]
    assert deviations[0] < deviations[1] < deviations[2]


def test_protocols_range_over_dose_and_resolution() -> None:
    protocols = [draw_protocol(np.random.default_rng(seed)) for seed in range(200)]
    factors = [f for p in protocols for f in p.factors]
    assert min(factors) < 1.6
    assert max(factors) > 150
    assert all(list(p.factors) == sorted(p.factors) for p in protocols)


def test_a_cached_volume_is_simulated_once_and_comes_back_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned = []

    def little(index: int) -> PairedVolumes:
        scanned.append(index)
        full, *lows = np.random.default_rng(index).random((4, 5, 5, 3)).astype(np.float32)
        return PairedVolumes(full, dict(zip((2.0, 5.5, 100.0), lows, strict=True)))

    first = CachedVolumes(Store(tmp_path), "some-3", little)(7)
    again = CachedVolumes(Store(tmp_path), "some-3", little)(7)
    CachedVolumes(Store(tmp_path), "some-4", little)(7)
    assert scanned == [7, 7]
    monkeypatch.setattr(volume_cache, "simulation_version", lambda: "of-other-code")
    CachedVolumes(Store(tmp_path), "some-3", little)(7)
    assert scanned == [7, 7, 7]
    expected = little(7)
    for kept in (first, again):
        assert np.array_equal(kept.full, expected.full)
        assert list(kept.lows) == list(expected.lows)
        assert np.array_equal(list(kept.lows.values()), list(expected.lows.values()))


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from petdiff.data.array_store import Store
np.save = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Store(Path(sys.argv[1])).put(sys.argv[2], {"full": np.ones(3)}, {})
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="not there on Windows")
def test_what_a_killed_run_was_writing_is_removed_from_the_cache(tmp_path: Path) -> None:
    ones, store = np.ones((5, 5, 3), np.float32), Store(tmp_path)
    volumes = CachedVolumes(store, "some-3", lambda _: PairedVolumes(ones, {2.0: ones}))
    name = f"some-3-{simulation_version()}-00000007"
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), name], check=False)
    [killed] = tmp_path.iterdir()
    # Another run may be writing the same volume at this moment, and other things for long.
    present = shutil.copytree(killed, killed.with_name(f".{name}.unfinished-01234567"))
    other = shutil.copytree(killed, killed.with_name(".run.unfinished-01234567"))
    two_hours_ago = time.time() - 7200
    for path in (killed, other):
        os.utime(path, (two_hours_ago, two_hours_ago))
    volumes(7)
    assert {*tmp_path.iterdir()} == {tmp_path / name, present, other}
    os.utime(present, (two_hours_ago, two_hours_ago))
    volumes(7)  # now in the cache
    assert {*tmp_path.iterdir()} == {tmp_path / name, other}


def test_made_up_scanners_are_possible_and_all_differ() -> None:
    drawn = [draw_scanner(np.random.default_rng(n)) for n in range(100)]
    others = [scanner for scanner in drawn if scanner not in SCANNERS.values()]
    assert len(set(others)) == len(others)
    tof_ps = [scanner.tof_ps for scanner in others]
    assert min(tof_ps) < 210
    assert max(tof_ps) > 550
    patient = draw_patient(3)
    scan = {"seed": 0, "patient": patient, "dose_factors": (4.0,), "voxel_mm": None, "labels": None}
    for scanner in others:
        ScanRecord(scanner=scanner, **scan)  # refuses what is no scanner


def test_heads_are_mostly_fdg_s_and_bodies_any_tracer_s() -> None:
    rng = np.random.default_rng(0)
    drawn = {
        part: [draw_tracer(rng, part) for _ in range(4000)] for part in ("head-neck", "pelvis")
    }
    shares = {part: np.mean([tracer == "fdg" for tracer in drawn[part]]) for part in drawn}
    assert shares["head-neck"] == pytest.approx(0.75 + 0.25 / 4, abs=0.03)
    assert shares["pelvis"] == pytest.approx(0.25, abs=0.03)
    assert set(drawn["head-neck"]) == set(drawn["pelvis"]) == set(TRACERS)


def without_simulation(
    monkeypatch: pytest.MonkeyPatch, noted: Callable[[int, dict[str, Any]], None]
) -> None:
    """Let SimulatedPatients draw records without patients; their scans are the seeds.

    noted  called with the seed and the settings of each record; may refuse them
    """

    def draw_record(seed: int, **settings: Any) -> SimpleNamespace:
        noted(seed, settings)
        uptake = dict.fromkeys(("liver", "marrow"), 1.0)
        record = SimpleNamespace(patient=SimpleNamespace(uptake=uptake), seed=seed, **settings)
        record.model_copy = lambda update: record
        return record

    def rescan(record: SimpleNamespace, threads: int) -> SimpleNamespace:
        assert threads == 1
        image = SimpleNamespace(suv=np.full(1, record.seed))
        return SimpleNamespace(full=image, lows=dict.fromkeys(record.dose_factors, image))

    monkeypatch.setattr(simulated_patients, "draw_record", draw_record)
    monkeypatch.setattr(simulated_patients, "rescan", rescan)


def test_patients_are_drawn_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[dict[str, Any]] = []
    hot: list[object] = []
    seen = set(SCANNERS) - {"mct-flow"}
    without_simulation(monkeypatch, lambda seed, settings: drawn.append({"seed": seed, **settings}))

    def with_uptake(patient: object, uptake: Mapping[str, float]) -> object:
        hot.append(patient)
        return patient

    monkeypatch.setattr(simulated_patients, "with_uptake", with_uptake)
    supply = SimulatedPatients(5, "vision600", "psma")
    for index in (0, 0, *range(1, 20)):
        assert len(supply(index).lows) == LOWS
    assert drawn[0] == drawn[1]
    assert len({settings["seed"] for settings in drawn}) == 20
    assert len({settings["extent"] for settings in drawn}) == 4
    assert min(settings["seed"] for settings in drawn) >= FIRST_SEED
    assert {(settings["scanner"], settings["tracer"]) for settings in drawn} == {
        ("vision600", "psma")
    }
    assert not hot, "a hospital's patients are as they are"
    drawn.clear()
    of_any = SimulatedPatients(5)
    for index in range(60):
        of_any(index)
    assert 2 <= len(hot) <= 28  # 15 expected, four standard deviations
    assert {settings["tracer"] for settings in drawn} == set(TRACERS)
    used = {settings["scanner"] for settings in drawn}
    assert {name for name, known in SCANNERS.items() if known in used} == seen, "one is held out"
    others = [settings for settings in drawn if settings["scanner"] not in SCANNERS.values()]
    assert 15 <= len(others) <= 45  # 30 expected, four standard deviations
    pairs = {(s["scanner"].label.removeprefix("like "), s["tracer"]) for s in drawn}
    assert len(pairs) > 12  # of 16; all of them once is not to be expected of so few
    drawn.clear()
    SimulatedPatients(5, "mct-flow", "fdg")(0)
    assert drawn[0]["scanner"] == "mct-flow", "but for those who ask for it"


def test_stimulated_marrow_is_hotter_by_a_random_factor_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    usual = {"liver": 2.0, "marrow": 1.3}
    drawn = [with_hot_marrow(rng, usual) for _ in range(200)]
    assert {uptake["liver"] for uptake in drawn} == {2.0}
    factors = [uptake["marrow"] / 1.3 for uptake in drawn]
    assert 1.5 <= min(factors) < 1.6
    assert 4.7 < max(factors) <= 5
    assert usual == {"liver": 2.0, "marrow": 1.3}


def test_sources_are_mixed_by_number_and_share() -> None:
    def named(name: str) -> Any:
        return lambda index: (name, index)

    half = MixedVolumes(3, 0.5, named("realistic"), named("randomized"))
    drawn: list[Any] = [half(index) for index in range(400)]
    assert drawn == [half(index) for index in range(400)]
    assert [index for _, index in drawn] == list(range(400))
    # 200 expected, four standard deviations
    assert 160 <= sum(name == "realistic" for name, _ in drawn) <= 240
    for share, name in ((0.0, "randomized"), (1.0, "realistic")):
        only = MixedVolumes(3, share, named("realistic"), named("randomized"))
        assert {drawn[0] for drawn in map(only, range(50))} == {name}  # type: ignore[index]


def test_each_source_is_cached_under_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that runs with another share take what is there."""
    ones = np.ones((5, 5, 3), np.float32)
    little = PairedVolumes(ones, dict.fromkeys((2.0, 5.5, 100.0), ones))
    monkeypatch.setattr(simulated, "make_randomized_scan", lambda seed, index: little)
    monkeypatch.setattr(SimulatedPatients, "_scanned", lambda self, rng: little)
    for share in (0.0, 1.0):
        recipe_volumes(Recipe(seed=4, realistic_share=share, volume_cache=str(tmp_path)))(0)
    recipe_volumes(Recipe(seed=4, scanner="quadra", tracer="fdg", volume_cache=str(tmp_path)))(0)
    kinds = ("any-any", "quadra-fdg", "randomized")
    names = [f"{kind}-4-{simulation_version()}-00000000" for kind in kinds]
    assert Store(tmp_path).names() == names


def test_a_patient_wider_than_the_bore_makes_room_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[int] = []

    def narrow(seed: int, settings: dict[str, Any]) -> None:
        tried.append(seed)
        if len(tried) % 3:
            raise InputRefused("the patient is wider than the bore")

    without_simulation(monkeypatch, narrow)
    supply = SimulatedPatients(5, "quadra", "fdg")
    scanned = [supply(7), supply(7)]
    assert tried[:3] == tried[3:]
    assert len(set(tried)) == 3
    assert [int(volumes.full[0]) for volumes in scanned] == [tried[2]] * 2


def test_a_source_that_can_only_refuse_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(seed: int, settings: dict[str, Any]) -> None:
        raise InputRefused("no patient fits")

    without_simulation(monkeypatch, refuse)
    with pytest.raises(InputRefused, match="no patient fits"):
        SimulatedPatients(5, "quadra", "fdg")(0)


def test_a_randomized_scan_is_the_same_bytes_for_the_same_seed_and_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(randomized_scans, "TRANSAXIAL", 32)
    monkeypatch.setattr(randomized_scans, "SLICES", 8)
    monkeypatch.setattr(randomized_scans, "SHAPE", (32, 32, 8))

    def contents(seed: int, number: int) -> bytes:
        made = make_randomized_scan(seed, number)
        volumes = (made.truth, made.full, *made.lows.values())
        return b"".join(volume.tobytes() for volume in volumes)

    numbers = [(3, 0), (3, 1)]  # a part of a patient, and an abstract body
    first = [contents(*number) for number in numbers]
    again = [contents(*number) for number in reversed(numbers)]
    assert first == again[::-1]
    assert len({*first, contents(4, 1)}) == 3


def test_projectors_of_all_protocols_are_reused() -> None:
    protocols = [draw_protocol(np.random.default_rng(seed)) for seed in range(200)]
    kinds = {(randomized_scans._views(p), p.subsets, p.tof_fwhm) for p in protocols}
    assert len(kinds) <= _cached_views.cache_info().maxsize


def test_a_patient_is_scanned_by_the_scanner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated_patients, "VOXEL_MM", (12.0, 12.1))
    volumes = SimulatedPatients(5, "quadra", "fdg")(0)
    noise = [np.std(low - volumes.full) for low in volumes.lows.values()]
    assert len(noise) == LOWS
    assert noise == sorted(noise)


def test_the_version_of_a_cached_volume_follows_the_code_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed number in any file counts; comments, docstrings and layout do not."""

    def version(name: str = "", change: tuple[str, str] = ("", "")) -> str:
        package = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        shutil.copytree(Path(petdiff.__file__).parent, package, ignore=ignored)
        if name:
            text = (package / name).read_text(encoding="utf-8")
            assert change[0] in text
            (package / name).write_text(text.replace(*change), encoding="utf-8")
        monkeypatch.setattr(volume_cache.resources, "files", lambda _: package)
        simulation_version.cache_clear()
        return simulation_version()

    ignored = shutil.ignore_patterns("weights", "viewer", "__pycache__")
    before = simulation_version()
    try:
        assert version() == before
        osem = "simulation/scanner/reconstruction.py"
        assert version(osem, ("from __future__", "# a comment\nfrom __future__")) == before
        supply = "training/supply/randomized_scans.py"
        assert version(supply, ("PATIENT_SHARE = 0.6", "PATIENT_SHARE = 0.61")) != before
        isotopes = "simulation/scanner/isotopes.py"
        assert version(isotopes, ("from __future__", "NEW = 1\nfrom __future__")) != before
        patients = "training/supply/simulated_patients.py"
        assert version(patients, ("VOXEL_MM = (3.0, 6.0)", "VOXEL_MM = (3.0, 6.1)")) != before
    finally:
        simulation_version.cache_clear()


def test_the_version_covers_all_code_that_computes_a_volume() -> None:
    """Other code that the simulation uses computes nothing: errors, images, file readers."""
    package = Path(petdiff.__file__).parent
    supply = package / "training" / "supply"
    files = [*(package / "simulation").rglob("*.py")]
    files += [supply / "randomized_scans.py", supply / "simulated_patients.py"]
    used = {
        found
        for file in files
        for found in re.findall(
            r"^\s*from petdiff\.([\w.]+) import", file.read_text(), re.MULTILINE
        )
    }
    others = {name for name in used if not re.match(r"simulation\b|errors$|image$|io\b", name)}
    assert others == {
        "units",
        "training.supply.paired_volumes",
        "training.supply.randomized_scans",
        "volume.spans",
    }
