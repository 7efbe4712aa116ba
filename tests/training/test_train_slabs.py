from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from petdiff.data.array_store import Store
from petdiff.errors import InputRefused
from petdiff.simulation.patient.draw import draw_patient
from petdiff.simulation.patient.tracers import TRACERS
from petdiff.simulation.scan_record import ScanRecord
from petdiff.simulation.scanner.projector import _cached_views
from petdiff.simulation.scanner.scanners import SCANNERS
from petdiff.training.recipe import Recipe
from petdiff.training.supply import patient_slabs as stretches
from petdiff.training.supply import simulated as clinic
from petdiff.training.supply import varied_slabs as slabs
from petdiff.training.supply.patient_slabs import Stretch, Stretches, draw_scanner, draw_tracer
from petdiff.training.supply.simulated import KeptSlabs, MixedSlabs, clinic_slabs
from petdiff.training.supply.varied_slabs import (
    FIRST_SEED,
    LOWS,
    Protocol,
    draw_protocol,
    make_slab,
    scan_slab,
)


def test_a_scanned_slab_keeps_its_activity_and_its_noise_grows_as_dose_falls() -> None:
    rng = np.random.default_rng(0)
    i, j, _ = np.indices((48, 48, 6))
    inside = ((i - 23.5) ** 2 + (j - 23.5) ** 2 < 18**2).astype(np.float32)
    protocol = Protocol(
        fwhm=1.5, axial_fwhm=1.2, psf_share=1.0, tof_fwhm=0.0, subsets=6, iterations=4,
        scatter_fraction=0.2, randoms_fraction=0.2, counts_per_voxel=200, factors=(4.0, 50.0),
        post_fwhm=0.0, zoom=1.0,
    )  # fmt: skip
    slab = scan_slab(rng, protocol, inside, 0.097 * inside)
    core = ((i - 23.5) ** 2 + (j - 23.5) ** 2) < 14**2
    means = [image[core].mean() for image in (slab.full, *slab.lows.values())]
    assert means == pytest.approx([1, 1, 1], rel=0.02)
    spreads = [image[core].std() for image in (slab.full, *slab.lows.values())]
    assert spreads[0] < spreads[1] < spreads[2]


def test_protocols_range_over_dose_and_resolution() -> None:
    protocols = [draw_protocol(np.random.default_rng(seed)) for seed in range(200)]
    factors = [f for p in protocols for f in p.factors]
    assert min(factors) < 1.6
    assert max(factors) > 150
    assert all(list(p.factors) == sorted(p.factors) for p in protocols)


def test_a_kept_slab_is_scanned_once_and_comes_back_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned = []

    def little(index: int) -> Stretch:
        scanned.append(index)
        full, *lows = np.random.default_rng(index).random((4, 5, 5, 3)).astype(np.float32)
        return Stretch(full, dict(zip((2.0, 5.5, 100.0), lows, strict=True)))

    first = KeptSlabs(Store(tmp_path), "clinic-3", little)(7)
    again = KeptSlabs(Store(tmp_path), "clinic-3", little)(7)
    KeptSlabs(Store(tmp_path), "clinic-4", little)(7)
    assert scanned == [7, 7]
    monkeypatch.setattr(clinic, "SUPPLY", clinic.SUPPLY + 1)  # what a slab is has changed
    KeptSlabs(Store(tmp_path), "clinic-3", little)(7)
    assert scanned == [7, 7, 7]
    expected = little(7)
    for kept in (first, again):
        assert np.array_equal(kept.full, expected.full)
        assert list(kept.lows) == list(expected.lows)
        assert np.array_equal(list(kept.lows.values()), list(expected.lows.values()))


def test_scanners_that_no_clinic_has_are_possible_and_each_another() -> None:
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


def test_a_clinics_slabs_are_drawn_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    seen = set(SCANNERS) - {"mct-flow"}

    def noted(seed: int, **settings: Any) -> SimpleNamespace:
        drawn.append({"seed": seed, **settings})
        image = SimpleNamespace(suv=np.zeros(1))
        return SimpleNamespace(full=image, lows=dict.fromkeys(settings["dose_factors"], image))

    monkeypatch.setattr(stretches, "simulate", noted)
    supply = Stretches(5, "vision600", "psma")
    for index in (0, 0, *range(1, 20)):
        assert len(supply(index).lows) == LOWS
    assert drawn[0] == drawn[1]
    assert len({settings["seed"] for settings in drawn}) == 20
    assert len({settings["extent"] for settings in drawn}) == 4
    assert min(settings["seed"] for settings in drawn) >= FIRST_SEED
    assert {(settings["scanner"], settings["tracer"]) for settings in drawn} == {
        ("vision600", "psma")
    }
    assert {settings["threads"] for settings in drawn} == {1}
    drawn.clear()
    of_any = Stretches(5)
    for index in range(60):
        of_any(index)
    assert {settings["tracer"] for settings in drawn} == set(TRACERS)
    used = {settings["scanner"] for settings in drawn}
    assert {name for name, known in SCANNERS.items() if known in used} == seen, "one is held out"
    others = [settings for settings in drawn if settings["scanner"] not in SCANNERS.values()]
    assert 15 <= len(others) <= 45  # 30 expected, four standard deviations
    pairs = {(s["scanner"].label.removeprefix("like "), s["tracer"]) for s in drawn}
    assert len(pairs) > 12  # of 16; all of them once is not to be expected of so few
    drawn.clear()
    Stretches(5, "mct-flow", "fdg")(0)
    assert drawn[0]["scanner"] == "mct-flow", "but for those who ask for it"


def test_supplies_are_mixed_by_number_and_share() -> None:
    def named(name: str) -> Any:
        return lambda index: (name, index)

    half = MixedSlabs(3, 0.5, named("clinical"), named("various"))
    drawn: list[Any] = [half(index) for index in range(400)]
    assert drawn == [half(index) for index in range(400)]
    assert [index for _, index in drawn] == list(range(400))
    # 200 expected, four standard deviations
    assert 160 <= sum(name == "clinical" for name, _ in drawn) <= 240
    for share, name in ((0.0, "various"), (1.0, "clinical")):
        only = MixedSlabs(3, share, named("clinical"), named("various"))
        assert {drawn[0] for drawn in map(only, range(50))} == {name}  # type: ignore[index]


def test_a_recipe_s_supply_keeps_each_kind_under_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that runs with another share take what is there."""
    ones = np.ones((5, 5, 3), np.float32)
    little = Stretch(ones, dict.fromkeys((2.0, 5.5, 100.0), ones))
    monkeypatch.setattr(clinic, "make_slab", lambda seed, index: little)
    monkeypatch.setattr(Stretches, "_scanned", lambda self, rng: little)
    for share in (0.0, 1.0):
        clinic_slabs(Recipe(seed=4, clinical_share=share, kept_slabs=str(tmp_path)))(0)
    clinic_slabs(Recipe(seed=4, scanner="quadra", tracer="fdg", kept_slabs=str(tmp_path)))(0)
    names = [f"{kind}-4-v{clinic.SUPPLY}-00000000" for kind in ("any-any", "clinic", "quadra-fdg")]
    assert Store(tmp_path).names() == names


def test_a_patient_wider_than_the_bore_makes_room_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[int] = []

    def narrow(seed: int, **settings: Any) -> SimpleNamespace:
        tried.append(seed)
        if len(tried) % 3:
            raise InputRefused("the patient is wider than the bore")
        image = SimpleNamespace(suv=np.full(1, seed))
        return SimpleNamespace(full=image, lows=dict.fromkeys(settings["dose_factors"], image))

    monkeypatch.setattr(stretches, "simulate", narrow)
    supply = Stretches(5, "quadra", "fdg")
    scanned = [supply(7), supply(7)]
    assert tried[:3] == tried[3:]
    assert len(set(tried)) == 3
    assert [int(stretch.full[0]) for stretch in scanned] == [tried[2]] * 2


def test_a_supply_that_can_only_refuse_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **settings: Any) -> SimpleNamespace:
        raise InputRefused("no patient fits")

    monkeypatch.setattr(stretches, "simulate", refuse)
    with pytest.raises(InputRefused, match="no patient fits"):
        Stretches(5, "quadra", "fdg")(0)


def test_a_slab_is_the_same_bytes_for_the_same_seed_and_index(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slabs, "TRANSAXIAL", 32)
    monkeypatch.setattr(slabs, "SLICES", 8)
    monkeypatch.setattr(slabs, "SHAPE", (32, 32, 8))

    def contents(seed: int, index: int) -> bytes:
        slab = make_slab(seed, index)
        volumes = (slab.truth, slab.full, *slab.lows.values())
        return b"".join(volume.tobytes() for volume in volumes)

    numbers = [(3, index) for index in range(4)]  # bodies of both kinds are among them
    first = [contents(*number) for number in numbers]
    again = [contents(*number) for number in reversed(numbers)]
    assert first == again[::-1]
    assert len({*first, contents(4, 0)}) == 5


def test_projectors_of_all_protocols_are_reused() -> None:
    protocols = [draw_protocol(np.random.default_rng(seed)) for seed in range(200)]
    kinds = {(slabs._views(p), p.subsets, p.tof_fwhm) for p in protocols}
    assert len(kinds) <= _cached_views.cache_info().maxsize


def test_a_clinics_slab_is_its_scanners_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "VOXEL_MM", (12.0, 12.1))
    stretch = Stretches(5, "quadra", "fdg")(0)
    noise = [np.std(low - stretch.full) for low in stretch.lows.values()]
    assert len(noise) == LOWS
    assert noise == sorted(noise)
