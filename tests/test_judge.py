"""Scores of many answers against closed forms, the critic, and noise as a rival."""

import math

import pytest
import torch

import judge
import rivals
import runs
import utils

Y = 128 / 255
GREY = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)


def gaussian(n: int, k: int, size: float | torch.Tensor = 0.05, centre: float = Y, seed: int = 0):
    """Samples `(n, k, 3, 32, 32)` of a Gaussian too narrow to be clipped, and masks."""
    noise = torch.randn(n, k, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return centre + size * noise, utils.evaluation_masks("random", n)


def uniform(n: int, k: int):
    """Samples and images of the same distribution, and masks: the right model."""
    generator = torch.Generator().manual_seed(n + k)
    shape, options = (n, 3, 32, 32), {"generator": generator, "dtype": torch.uint8}
    images = torch.randint(0, 256, shape, **options)
    samples = torch.randint(0, 256, (n, k, *shape[1:]), **options) / 255
    return samples, images, utils.evaluation_masks("random", n)


@pytest.mark.parametrize("k", [2, 5, 19])
def test_scores_of_gaussian_samples_are_their_closed_forms_for_every_k(k):
    """Gneiting & Raftery 2007; the energy score's has the mean of the chi distribution, in blocks s is a quarter."""
    samples, masks = gaussian(150, k)
    scores = judge.score_samples(samples, GREY.expand(150, -1, -1, -1), masks).mean()
    closed = 0.05 * (math.sqrt(2) - 1) / math.sqrt(math.pi)
    assert scores.crps == pytest.approx(closed, rel=0.03)
    assert scores.crps_4x4 == pytest.approx(closed / 4, rel=0.15)
    chi = math.sqrt(2) * math.exp(math.lgamma(433 / 2) - math.lgamma(432 / 2))
    energy = 0.05 * chi * (1 - math.sqrt(2) / 2) / math.sqrt(432)
    assert scores.energy == pytest.approx(energy, rel=0.03)
    assert scores.diversity == pytest.approx(0.05 * 2 / math.sqrt(math.pi), rel=0.01)
    samples, _ = gaussian(150, k, centre=Y + 0.1)
    scores = judge.score_samples(samples, GREY.expand(150, -1, -1, -1), masks)
    assert scores.mse_mean.mean() == pytest.approx(0.01, rel=0.01), "of infinitely many"


def test_right_samples_cover_the_truth_four_times_in_five():
    case = uniform(200, 19)
    scores = judge.score_samples(*case)
    assert scores.coverage.mean() == pytest.approx(0.8, abs=0.005)
    assert scores.crps.mean() == pytest.approx(1 / 6, abs=0.002)
    _, images, masks = case
    equal = (images / 255)[:, None].expand(-1, 19, -1, -1, -1)  # ties are broken at random
    assert judge.score_samples(equal, images, masks).coverage.mean() == pytest.approx(0.8, abs=0.005)
    assert judge.score_samples(equal + 0.01, images, masks).coverage.max() == 0


def test_spread_predicts_the_error_of_right_samples_and_one_size_does_not():
    sizes = torch.cat([torch.full((3, 16, 32), 0.02), torch.full((3, 16, 32), 0.1)], dim=1)
    truth, masks = gaussian(200, 1, sizes, seed=1)
    images = (truth[:, 0].clamp(0, 1) * 255).round().to(torch.uint8)
    right = judge.spread_against_error(gaussian(200, 19, sizes)[0], images, masks)
    assert right.error.to_numpy() == pytest.approx(right.spread.to_numpy(), rel=0.03)
    assert right.error.iloc[-1] > 4 * right.error.iloc[0]
    one_size = judge.spread_against_error(gaussian(200, 19)[0], images, masks)
    assert one_size.spread.max() < 1.03 * one_size.spread.min()
    masks = utils.square_holes(torch.full((200, 2), 10), 12)
    deep = torch.full((3, 32, 32), 0.02)
    deep[:, 12:20, 12:20] = 0.06  # being far from the rim is no news
    by_depth = judge.spread_against_error(gaussian(200, 19, deep)[0], GREY.expand(200, -1, -1, -1), masks)
    assert by_depth.spread.max() < 1.03 * by_depth.spread.min()


def test_the_critic_tells_mean_colour_from_photographs_and_not_what_is_the_same(monkeypatch):
    monkeypatch.setenv("IMAGE_FILL_EFFORT", "full")  # more images than the smoke effort takes
    images, masks = utils.load_images().train[:160], utils.evaluation_masks("random", 160)
    filled = utils.fill_images(utils.fill_mean_colour, images, masks)
    torch.manual_seed(5)
    right = judge.critic(filled, images, masks)
    after = torch.rand(3)
    assert right.mean() > 0.95
    torch.manual_seed(5)
    assert (judge.critic(images / 255, images, masks) == 0.5).all()
    assert torch.equal(torch.rand(3), after), "its chance is not its caller's"


def noisy_answers(photos):
    """Answers that miss by Gaussian noise, in every other image thrice as large, and the factor of its covariance."""
    generator, parts = torch.Generator().manual_seed(5), {}
    factor = 0.02 * torch.eye(432) + 0.02 / 432**0.5 * torch.ones(432, 432).tril()
    for split in ("validation", "test"):
        images = getattr(photos, split) / 255
        truth = utils.cut_windows(images, utils.evaluation_masks("random", len(images)), 12)
        noise = torch.randn(len(images), 432, generator=generator) @ factor.T
        noise[::2] *= 3
        parts[split] = (255 * (truth + noise.view(-1, 3, 12, 12))).round()
    return parts, factor


def test_noise_is_fitted_and_judged_by_its_gaussian(photos):
    parts, factor = noisy_answers(photos)
    packed = (factor @ factor.T)[*torch.tril_indices(432, 432)]
    assert torch.allclose(rivals.unpack_covariance(packed), factor, atol=1e-4)
    samples, density = rivals.fit_noise(parts, photos, factor)
    masks = utils.evaluation_masks("random", len(photos.test))
    known = (masks == 1).expand_as(photos.test)
    assert torch.equal(samples[:, 3][known], (photos.test / 255)[known])
    errors = utils.cut_windows(photos.test / 255, masks, 12) - parts["test"] / 255
    best = torch.distributions.MultivariateNormal(torch.zeros(432), scale_tril=5**0.5 * factor)
    assert density.mean() == pytest.approx(float(best.log_prob(errors.flatten(1)).mean()), abs=10)
    sizes = {split: torch.tensor([3.0, 1.0]).repeat(32)[: len(x)] for split, x in parts.items()}
    assert rivals.fit_noise(parts, photos, factor, sizes)[1].mean() > density.mean() + 50
    predicted = rivals.predict_sizes(parts, photos)["test"]
    other = photos._replace(test=(photos.test * masks).byte())
    assert torch.allclose(predicted, rivals.predict_sizes(parts, other)["test"]), "of what is known"


def test_errors_of_one_grey_are_measured(photos):
    truth = utils.cut_windows(photos.train / 255, utils.evaluation_masks("random", len(photos.train)), 12)
    found = runs.measure_errors(lambda images, masks: torch.full_like(images, 0.2), photos)
    assert (found["test"] == 51).all()
    assert torch.allclose(found["covariance"], truth.flatten(1).T.cov()[*torch.tril_indices(432, 432)], atol=1e-5)
