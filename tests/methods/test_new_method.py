"""A new method is one file and one line of the registry: here, a method that blurs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

import petdiff
from petdiff.methods import registry
from petdiff.methods.base import Condition, FieldsOf, SlabMethod
from petdiff.methods.card import Domain, ModelCard, part_of_card
from petdiff.methods.mixins import OneCallSampler
from petdiff.methods.model import load_model, save_model
from petdiff.volume.regions import Spacing
from petdiff.volume.spans import with_halo


# --- the file of the method
class BlurConstants(BaseModel, frozen=True, extra="forbid"):
    """The constants that affect the output beside the weights."""

    width: int = Field(default=3, ge=3, le=5, description="of the kernel in voxels; chosen")


class NoArchitecture(BaseModel):
    """The architecture of a convolution: its width."""


@dataclass
class SuvScan(Condition):
    """A scan without any change."""

    fields: Tensor

    def decode(self, x: Tensor) -> Tensor:
        return x


@dataclass
class Blur(OneCallSampler, SlabMethod):
    """One convolution, trained by mean squared error."""

    network: nn.Conv3d
    constants: BlurConstants
    name: ClassVar[str] = "blur"
    domain: ClassVar[Domain] = "suv"
    patch: ClassVar[tuple[int, int, int]] = (16, 16, 16)
    precision: ClassVar[str] = "float32"
    multiple: ClassVar[int] = 1
    needs_suv: ClassVar[bool] = False

    @classmethod
    def create(cls, preset: str) -> Blur:
        return cls.of(BlurConstants())

    @classmethod
    def from_card(cls, card: ModelCard) -> Blur:
        return cls.of(part_of_card(BlurConstants, card, "constants"))

    @classmethod
    def of(cls, constants: BlurConstants) -> Blur:
        width = constants.width
        return cls(nn.Conv3d(1, 1, width, padding=width // 2, bias=False), constants)

    @property
    def architecture(self) -> NoArchitecture:
        return NoArchitecture()

    def working_voxel_mm(self, voxel_mm: Spacing) -> Spacing:
        return voxel_mm

    def condition(
        self, y: Tensor, dtype: torch.dtype = torch.float32, drf: float | None = None
    ) -> SuvScan:
        return SuvScan(y.to(dtype)[None])

    def denoise(self, x: Tensor, sigma: Tensor, fields: Tensor) -> Tensor:
        output: Tensor = self.network(fields)
        return output.float()

    def slab_by_slab(
        self, x: Tensor, sigma: Tensor, fields_of: FieldsOf, planes: int
    ) -> Iterator[Tensor]:
        length = x.shape[-1]
        for start in range(0, length, planes):
            core = slice(start, min(start + planes, length))
            span = with_halo(core, self.constants.width // 2, length)
            yield self.denoise(x, sigma, fields_of(span.read)[None])[..., span.inner]

    def example(self, low: Tensor, full: Tensor, drf: float | None = None) -> Tensor:
        return torch.stack([full, low])

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        full, low = batch.chunk(2, dim=1)
        return (self.denoise(low, low.new_zeros(1), low) - full).square().mean()


# --- the line of the registry: "blur": Blur,


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Blur]:
    monkeypatch.setitem(registry.METHODS, "blur", Blur)

    def trained() -> Blur:
        torch.manual_seed(0)
        method = Blur.create("default")
        full = torch.ones(16, 16, 16)
        batch = method.example(full + 0.5 * torch.randn(full.shape), full)[None]
        optimizer = torch.optim.Adam(method.network.parameters(), 0.01)
        for _ in range(100):
            optimizer.zero_grad()
            for objective in method.objectives():
                objective.loss(batch, torch.Generator()).backward()
            optimizer.step()
        return method

    return trained


def test_it_is_trained_saved_loaded_and_denoises_in_exact_slabs(
    known: Callable[[], Blur], tmp_path: Path
) -> None:
    method = known()
    path = tmp_path / "blur.safetensors"
    save_model(path, method.network, method.card({"steps": 100}), torch.float32)
    noise = np.random.default_rng(0).normal(0, 0.5, (32, 32, 32))
    scan = petdiff.PETImage((2 + noise).astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))
    model = load_model(path)
    whole, tiled = (petdiff.denoise(scan, model, tile=tile).image for tile in (None, 8))
    core = (slice(4, -4),) * 3
    assert whole.values[core].std() < 0.5 * scan.values[core].std()
    np.testing.assert_allclose(tiled.values, whole.values, rtol=1e-5)


def test_training_accepts_it(known: Callable[[], Blur], tmp_path: Path) -> None:
    from petdiff.training import run

    method, base = run._prepare(run.TrainOptions(method="blur", output=tmp_path / "run"))
    assert isinstance(method, Blur)
    assert base is None
