"""The GAN: losses against closed forms, the receptive field, and the trained parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from petdiff.methods.published_ddpm import Size
from petdiff.methods.published_regression import PublishedGAN
from petdiff.networks.discriminator import PatchDiscriminator, least_squares

TINY: Size = {"channels": 8, "multipliers": (1, 2), "residual_blocks": 1}


class MeanOfCandidate(nn.Module):
    """In place of the discriminator: its logit is the mean of the candidate."""

    def forward(self, measured: Tensor, candidate: Tensor) -> Tensor:
        return candidate.mean().view(1, 1, 1, 1, 1)


def fresh_gan() -> PublishedGAN:
    """Return a fresh GAN, whose estimate is the measured scan."""
    made = PublishedGAN.create(TINY)
    made.discriminator = MeanOfCandidate()  # type: ignore[assignment]
    return made


def flat(full: float, low: float) -> Tensor:
    return torch.tensor([full, low]).view(1, 2, 1, 1, 1).expand(1, 2, 16, 16, 16)


def test_least_squares_is_the_mean_squared_distance_from_the_label() -> None:
    assert least_squares(torch.tensor([0.0, 1.0, 3.0]), 1.0).item() == pytest.approx(5 / 3)


def test_generators_loss_in_closed_form() -> None:
    """100 · |0.3 − 0.8| + (0.3 − 1)²: pix2pix, eq. 4, with LSGAN's term."""
    loss = fresh_gan().loss(flat(full=0.8, low=0.3), torch.Generator())
    assert loss.item() == pytest.approx(100 * 0.5 + 0.49)


def test_discriminators_loss_in_closed_form() -> None:
    """((0.8 − 1)² + 0.3²) / 2: LSGAN, eq. 2."""
    loss = fresh_gan().discriminator_loss(flat(full=0.8, low=0.3), torch.Generator())
    assert loss.item() == pytest.approx((0.04 + 0.09) / 2)


def test_a_discriminator_that_cannot_distinguish_is_at_its_optimum() -> None:
    """For equal real and generated patches, the best logit is 1/2 and its loss 1/4."""
    verdict = torch.tensor(0.5, requires_grad=True)
    loss = (least_squares(verdict, 1.0) + least_squares(verdict, 0.0)) / 2
    loss.backward()
    assert loss.item() == pytest.approx(0.25)
    assert verdict.grad == 0


def test_the_discriminators_loss_has_no_gradient_in_the_generator() -> None:
    made = PublishedGAN.create(TINY)
    made.discriminator_loss(torch.rand(1, 2, 16, 16, 16), torch.Generator()).backward()
    assert all(parameter.grad is None for parameter in made.network.parameters())
    assert made.discriminator is not None
    assert all(parameter.grad is not None for parameter in made.discriminator.parameters())


def test_each_logit_depends_on_a_patch_of_the_receptive_field_only() -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(4)
    candidate = torch.rand(1, 1, 80, 40, 40, requires_grad=True)
    logits = discriminator(torch.rand(1, 1, 80, 40, 40), candidate)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2, logits.shape[4] // 2].backward()
    assert candidate.grad is not None
    reached = candidate.grad[0, 0].abs().sum((1, 2)).nonzero().flatten()
    assert len(reached) == int(reached[-1] - reached[0]) + 1 == PatchDiscriminator.receptive_field


def test_no_layer_of_the_discriminator_exceeds_its_spectral_norm() -> None:
    """Spectral normalisation: the largest singular value of each weight is 1 after some steps."""
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(4)
    with torch.no_grad():
        for _ in range(50):
            discriminator(torch.zeros(1, 1, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16))
        for layer in discriminator.layers:
            if isinstance(layer, nn.Conv3d):
                largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
                assert largest.item() == pytest.approx(1, abs=0.02)


def test_the_discriminator_stays_finite_in_half_precision() -> None:
    torch.manual_seed(0)
    made = PublishedGAN.create(TINY)
    with torch.autocast("cpu", torch.bfloat16):
        loss = made.loss(torch.rand(1, 2, 16, 16, 16), torch.Generator())
    loss.backward()
    assert made.discriminator is not None
    assert all(parameter.grad.isfinite().all() for parameter in made.trained.parameters())


def test_training_a_gan_from_a_model_file_raises_an_error() -> None:
    made = PublishedGAN.create(TINY)
    loaded = PublishedGAN.from_card(made.card({}))
    with pytest.raises(ValueError, match="no discriminator"):
        loaded.objectives()
