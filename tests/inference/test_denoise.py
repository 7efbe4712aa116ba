"""Properties of inference that hold for any weights, tested with a small random network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from petdiff import device
from petdiff.device import is_out_of_memory
from petdiff.errors import InputRefused, PetdiffError, UsageError
from petdiff.image import PETImage
from petdiff.inference.denoise import denoise
from petdiff.inference.slabs import SlabDenoiser
from petdiff.methods.base import SlabMethod
from petdiff.methods.flow3d import Flow3D
from petdiff.methods.local_denoiser import LocalConstants
from petdiff.methods.model import Model
from petdiff.methods.registry import METHODS
from petdiff.networks.slabwise import SlabwiseUNet
from petdiff.networks.unet import UNet, UNetArchitecture


@pytest.fixture(scope="module")
def model() -> Model:
    """A tiny flow3d with random weights in all layers."""
    return random_model(levels=3)


def random_model(levels: int) -> Model:
    architecture = UNetArchitecture(
        in_channels=6, out_channels=4, widths=(8,) * levels, blocks=(1,) * levels
    )
    method = Flow3D(UNet(architecture), LocalConstants())
    generator = torch.Generator().manual_seed(1)  # with 0 the network makes SUV 988 of 60
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    method.network.eval().requires_grad_(False)
    return Model(method, method.card({}), "random", "0" * 64)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scan(shape: tuple[int, int, int], voxel_mm: tuple[float, float, float] = (2, 2, 2)) -> PETImage:
    """A noisy warm ellipsoid in air with a hot spot."""
    rng = np.random.default_rng(5)
    where = np.indices(shape).T / np.array(shape)
    body = (((where - 0.5) ** 2).sum(-1).T < 0.18).astype(np.float32)
    hot = (((where - 0.4) ** 2).sum(-1).T < 0.003).astype(np.float32)
    suv = (body + 20 * hot) * rng.gamma(4, 1 / 4, shape)
    return PETImage(suv.astype(np.float32), np.diag([*voxel_mm, 1.0]))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("tile", [16, 32])
def test_the_result_does_not_depend_on_the_slabs(model: Model, tile: int, steps: int) -> None:
    image = scan((30, 27, 60))
    options: dict[str, Any] = {"steps": steps, "precision": "float32"}
    whole = denoise(image, model, **options).image.suv
    tiled = denoise(image, model, tile=tile, **options).image.suv
    assert np.abs(tiled - whole).max() < 1e-5 * np.abs(whole).max()
    assert np.abs(whole - image.suv).max() > 0.1  # the network did something


def test_same_seed_same_bytes(model: Model) -> None:
    image = scan((24, 24, 24))
    first, again = (denoise(image, model, steps=2, generator=seeded(7)).image.suv for _ in range(2))
    other = denoise(image, model, steps=2, generator=seeded(8)).image.suv
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize("factor", [0.01, 2.0, 50.0])
def test_a_scan_times_a_factor_gives_the_estimate_times_it(model: Model, factor: float) -> None:
    image = scan((32, 32, 32))
    once = denoise(image, model, precision="float32").image.suv
    scaled = denoise(
        image.with_values(image.suv * np.float32(factor)), model, precision="float32"
    ).image.suv
    np.testing.assert_allclose(scaled, factor * once, rtol=1e-3, atol=1e-4 * factor)


@pytest.mark.parametrize(
    ("shape", "voxel_mm"),
    [
        ((40, 40, 1), (2.0, 2.0, 2.0)),
        ((27, 30, 48), (4.0, 4.0, 3.3)),
        ((1, 1, 1), (4.0, 4.0, 4.0)),
        ((30, 30, 12), (1.65, 1.65, 5.0)),
        ((30, 30, 30), (0.5, 0.5, 0.5)),
    ],
)
def test_any_size_and_voxel_size_is_returned_on_its_own_grid(
    model: Model, shape: tuple[int, int, int], voxel_mm: tuple[float, float, float]
) -> None:
    image = scan(shape, voxel_mm)
    image = image.with_values(image.suv + 0.1)
    result = denoise(image, model)
    assert result.image.suv.shape == shape
    assert np.isfinite(result.image.suv).all()
    np.testing.assert_array_equal(result.image.affine, image.affine)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flipped", [(), (0,), (1, 2)])
def test_how_a_scan_is_stored_does_not_matter(
    model: Model, axes: tuple[int, int, int], flipped: tuple[int, ...]
) -> None:
    image = scan((24, 20, 30), (2, 2, 3))
    affine = image.affine[:, [*axes, 3]].copy()
    suv = image.suv.transpose(axes)
    for axis in flipped:
        affine[:3, 3] += affine[:3, axis] * (suv.shape[axis] - 1)
        affine[:3, axis] *= -1
        suv = np.flip(suv, axis)
    stored = PETImage(np.ascontiguousarray(suv), affine)
    denoised = denoise(stored, model, steps=2).image.suv
    expected = denoise(image, model, steps=2).image.suv.transpose(axes)
    np.testing.assert_array_equal(denoised, np.flip(expected, flipped))


@pytest.mark.filterwarnings("error")
def test_a_read_only_scan_is_denoised_without_a_warning(model: Model) -> None:
    image = scan((16, 16, 16))
    read_only = image.suv.copy(order="F")
    read_only.flags.writeable = False
    denoised = denoise(PETImage(read_only, image.affine), model)
    np.testing.assert_array_equal(denoised.image.suv, denoise(image, model).image.suv)


def test_nothing_is_pushed_below_zero_or_below_what_was_measured(model: Model) -> None:
    image = scan((24, 24, 24))
    assert denoise(image, model).image.suv.min() >= 0
    negative = image.with_values(image.suv - 0.05)
    denoised = denoise(negative, model).image.suv
    assert (denoised >= np.minimum(negative.suv, 0) - 1e-6).all()


def test_a_scan_that_is_negative_but_for_a_few_voxels_is_denoised(model: Model) -> None:
    suv = np.full((16, 16, 16), -1, np.float32)
    suv[8, 8, 8] = 5
    denoised = denoise(PETImage(suv, np.eye(4)), model).image.suv
    assert np.isfinite(denoised).all()


def test_an_empty_scan_stays_empty(model: Model) -> None:
    image = PETImage(np.zeros((16, 16, 16), np.float32), np.eye(4))
    result = denoise(image, model, steps=2, samples=2)
    assert not result.image.suv.any()
    assert result.uncertainty is not None
    assert not result.uncertainty.suv.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(model: Model, bad: float) -> None:
    suv = scan((16, 16, 16)).suv.copy()
    suv[3, 4, 5] = bad
    with pytest.raises(InputRefused, match=r"voxel \(3, 4, 5\)"):
        denoise(PETImage(suv, np.eye(4)), model)


def test_uncertainty_is_that_of_the_samples_and_of_what_they_share(model: Model) -> None:
    image = scan((24, 24, 24))
    options = {"steps": 2, "precision": "float32"}
    result = denoise(image, model, samples=3, generator=seeded(1), **options)
    one_after_another = seeded(1)
    drawn = np.stack(
        [denoise(image, model, generator=one_after_another, **options).image.suv for _ in range(3)]
    )
    assert result.uncertainty is not None
    bound = model.method.condition(torch.from_numpy(image.suv))
    expected = bound.standard_deviation(torch.from_numpy(drawn.std(0, ddof=1))).numpy()
    inside = result.uncertainty.suv > 0
    np.testing.assert_allclose(result.uncertainty.suv[inside], expected[inside], atol=2e-4)
    assert inside.any()


def test_beside_its_samples_flow3d_gives_the_posterior_mean(model: Model) -> None:
    image = scan((24, 24, 24))
    mean, sampled = (denoise(image, model, samples=n).image.suv for n in (1, 3))
    np.testing.assert_array_equal(sampled, mean)


def test_the_call_at_pure_noise_is_shared_by_all_samples(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    sigmas: list[float] = []
    original = Flow3D.slab_by_slab

    def counted(self: Flow3D, x: torch.Tensor, sigma: torch.Tensor, *others: Any) -> Any:
        sigmas.append(sigma.item())
        return original(self, x, sigma, *others)

    done: list[tuple[int, int]] = []
    monkeypatch.setattr(Flow3D, "slab_by_slab", counted)
    denoise(scan((24, 24, 24)), model, steps=3, samples=4, callback=lambda *now: done.append(now))
    assert np.isinf(sigmas[:2]).all()  # the two passes of the posterior mean
    assert np.isfinite(sigmas[2:]).all()
    assert len(sigmas) == 2 + 4 * 2
    assert done[-1] == (9, 9)


def turned(volume: torch.Tensor) -> torch.Tensor:
    """Reverse [..., i, j, k] along i and j and shift it by 3 voxels along all axes, by numpy."""
    reversed_ij = volume.numpy()[..., ::-1, ::-1, :]
    ends = [(0, 0)] * (volume.ndim - 3) + [(3, 0)] * 3
    return torch.from_numpy(np.pad(reversed_ij, ends, mode="symmetric")[..., :-3, :-3, :-3])


@pytest.mark.parametrize(
    ("levels", "shape", "planes"),
    [
        (3, (24, 16, 32), 8),
        (3, (24, 16, 32), 16),
        (3, (24, 16, 32), 32),
        (3, (8, 8, 8), 8),
        (1, (8, 24, 16), 2),  # slabs are thinner than the shift
        (1, (8, 8, 8), 6),
    ],
)
def test_posterior_mean_is_that_of_two_passes(
    levels: int, shape: tuple[int, int, int], planes: int
) -> None:
    method = random_model(levels).method
    assert isinstance(method, SlabMethod)
    condition = method.condition(torch.from_numpy(scan(shape).suv))
    inside = torch.ones(shape, dtype=torch.bool)
    denoiser = SlabDenoiser(method, condition, inside, torch.float32, planes, None, calls=1)
    nothing, pure_noise = torch.zeros(1, 1, *shape), torch.tensor([torch.inf])

    first, second = (
        method.denoise(nothing, pure_noise, fields[None])[0]
        for fields in (condition.fields, turned(condition.fields))
    )
    mean = first.clone()
    last_i, last_j, _ = (n - 1 for n in shape)
    for i, j, k in np.ndindex(*(n - 3 for n in shape)):
        # Voxel (3 + i, 3 + j, k) of the scan is this voxel of the turned scan:
        mean[:, 3 + i, 3 + j, k] += second[:, last_i - i, last_j - j, 3 + k]
    mean[:, 3:, 3:, :-3] /= 2
    expected = condition.preserve_activity(mean)
    rounding = 1e-5 * float(expected.abs().max())
    found = denoiser(nothing[0, 0], pure_noise)
    torch.testing.assert_close(found, expected, rtol=0, atol=rounding)
    assert (condition.preserve_activity(first) - expected).abs().max() > 1000 * rounding


def test_other_calls_are_one_pass(model: Model) -> None:
    method, shape = model.method, (16, 16, 16)
    assert isinstance(method, SlabMethod)
    condition = method.condition(torch.from_numpy(scan(shape).suv))
    inside = torch.ones(shape, dtype=torch.bool)
    denoiser = SlabDenoiser(method, condition, inside, torch.float32, 8, None, calls=3)
    x, sigma = torch.randn(1, 1, *shape, generator=seeded(3)), torch.tensor([0.3])
    once = method.denoise(x, sigma, condition.fields[None])[0]
    expected = condition.preserve_activity(once)
    rounding = 1e-5 * float(expected.abs().max())
    torch.testing.assert_close(denoiser(x[0, 0], sigma), expected, rtol=0, atol=rounding)


def test_several_samples_of_one_step_are_refused(model: Model) -> None:
    with pytest.raises(UsageError, match="give `steps` 2 or more"):
        denoise(scan((16, 16, 16)), model, steps=1, samples=2)


@pytest.mark.parametrize("dose", [1.0, 0.0, -4.0, float("nan"), float("inf")])
def test_an_invalid_dose_is_refused(model: Model, dose: float) -> None:
    with pytest.raises(UsageError, match="no dose reduction factor"):
        denoise(scan((16, 16, 16)), model, drf=dose)


def test_a_method_that_does_not_use_a_dose_refuses_it() -> None:
    accepting = {name for name, kind in METHODS.items() if kind.create("tiny").accepts_dose}
    assert accepting == set(METHODS) - {"logunet"}
    regressor = METHODS["logunet"].create("tiny")
    model = Model(regressor, regressor.card({}), "mine", "0" * 64)
    with pytest.raises(UsageError, match="logunet makes no use of a dose"):
        denoise(scan((16, 16, 16)), model, drf=4)


def test_the_nearer_the_dose_is_to_the_full_one_the_nearer_the_result_is_to_the_scan(
    model: Model,
) -> None:
    image = scan((32, 32, 32))
    results = [denoise(image, model, drf=dose, precision="float32") for dose in (1.001, 2, 100)]
    changes = [np.abs(result.image.suv - image.suv).max() for result in results]
    assert changes[0] < 0.02 * changes[2]
    assert changes[0] < changes[1] < changes[2]
    assert [result.record.drf for result in results] == [1.001, 2, 100]


def test_out_of_memory_halves_the_slab_and_is_logged(
    model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    image = scan((32, 32, 64))
    whole = denoise(image, model, precision="float32").image.suv
    original = SlabwiseUNet.__call__

    def too_much(self: SlabwiseUNet, slab: torch.Tensor, *, last: bool) -> Any:
        if slab.shape[2] > 16:
            raise torch.OutOfMemoryError("no room")
        return original(self, slab, last=last)

    monkeypatch.setattr(SlabwiseUNet, "__call__", too_much)
    result = denoise(image, model, precision="float32")
    assert "slab halved to 16 planes" in caplog.text
    assert result.record.tile == (32, 32, 16)
    assert np.abs(result.image.suv - whole).max() < 1e-5 * np.abs(whole).max()


def test_out_of_memory_with_the_thinnest_slab_is_an_error(
    model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def too_much(*_: Any, last: bool) -> Any:
        if "halved to 8 planes" in caplog.text:
            monkeypatch.undo()  # for a further attempt, which would be one too many
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(SlabwiseUNet, "__call__", too_much)
    with pytest.raises(PetdiffError, match="on cpu with the thinnest slab; use another `device`"):
        denoise(scan((32, 32, 32)), model, precision="float32")
    assert "halved to 8 planes" in caplog.text


@pytest.mark.parametrize(("bytes_too_few", "planes"), [(0, 16), (1, 8), (10**9, 8)])
def test_slabs_are_as_thick_as_the_memory_budget_allows(
    model: Model, monkeypatch: pytest.MonkeyPatch, bytes_too_few: int, planes: int
) -> None:
    for_16_planes = 32 * 32 * (16 + 64) * 70 * 4  # in float32, with the planes that wait
    monkeypatch.setattr(
        "petdiff.inference.slabs.memory_budget", lambda _: for_16_planes - bytes_too_few
    )
    record = denoise(scan((32, 32, 64)), model, precision="float32").record
    assert record.tile == (32, 32, planes)
    assert record.predicted_tile_gib == round(32 * 32 * (planes + 64) * 70 * 4 / 2**30, 3)


def test_out_of_memory_on_a_cpu_is_distinguished_from_other_failures() -> None:
    with pytest.raises(RuntimeError) as full:
        torch.empty(2**58, dtype=torch.uint8)
    assert is_out_of_memory(full.value)
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as other:
        torch.zeros(2) @ torch.zeros(3)
    assert not is_out_of_memory(other.value)


def test_a_cpu_out_of_memory_halves_the_slab_too(
    model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = SlabwiseUNet.__call__
    failures = [lambda: torch.empty(2**58, dtype=torch.uint8)]

    def too_much(self: SlabwiseUNet, slab: torch.Tensor, *, last: bool) -> Any:
        if failures:
            failures.pop()()
        return original(self, slab, last=last)

    monkeypatch.setattr(SlabwiseUNet, "__call__", too_much)
    denoise(scan((32, 32, 64)), model, precision="float32")
    assert "slab halved to" in caplog.text


def test_a_bug_in_the_network_is_distinguished_from_lack_of_memory(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, last: bool) -> torch.Tensor:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(SlabwiseUNet, "__call__", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        denoise(scan((16, 16, 16)), model, precision="float32")


@pytest.mark.parametrize("name", ["flow3d", "unet3d"])
def test_a_model_keeps_its_weights_in_any_precision(name: str) -> None:
    method = METHODS[name].create("tiny")
    for parameter in method.network.parameters():  # all layers speak, and none in bfloat16
        torch.nn.init.normal_(parameter, std=0.1, generator=seeded(parameter.numel()))
    method.network.eval().requires_grad_(False)
    given = Model(method, method.card({}), "random", "0" * 64)
    weights = {key: value.clone() for key, value in method.network.state_dict().items()}
    image = scan((16, 16, 16))
    first = denoise(image, given, precision="float32").image.suv
    coarse = denoise(image, given, precision="bfloat16").image.suv
    again = denoise(image, given, precision="float32").image.suv
    assert first.tobytes() == again.tobytes()
    assert coarse.tobytes() != first.tobytes()
    for key, value in given.network.state_dict().items():
        assert torch.equal(value, weights[key])


def test_the_memory_budget_is_half_of_what_is_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = tmp_path / "meminfo"
    monkeypatch.setattr(device, "_MEMORY_FACTS", facts)
    cpu = torch.device("cpu")
    assert device.memory_budget(cpu) == device.GIB  # no such file: the system does not say
    facts.write_text("MemTotal: 8388608 kB\nMemFree: 1024 kB\nMemAvailable: 3145728 kB\n")
    assert device.memory_budget(cpu) == 3 * device.GIB // 2
    facts.write_text("MemTotal: 8388608 kB\nMemFree: 1024 kB\n")
    assert device.memory_budget(cpu) == device.GIB


def test_progress_reaches_its_end(model: Model) -> None:
    ticks: list[tuple[int, int]] = []
    denoise(scan((48, 24, 24)), model, steps=2, tile=24, callback=lambda n, m: ticks.append((n, m)))
    assert ticks[-1][0] == ticks[-1][1]
    assert [n for n, _ in ticks] == list(range(1, len(ticks) + 1))


def test_record_has_model_device_and_settings(model: Model) -> None:
    record = denoise(scan((16, 16, 16)), model, steps=2, generator=seeded(4)).record
    assert (record.steps, record.samples, record.seed) == (2, 1, 4)
    assert record.device.startswith("cpu")
    assert record.model.method == "flow3d"
