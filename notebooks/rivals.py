"""One answer, and noise as its variety: without a latent, they keep notebook 3's table honest. An
answer is the `uint8` parts `(N, 3, 12, 12)` of the splits validation and test.
"""

import numpy as np
import torch
from torch import Tensor

import utils


def unpack_covariance(packed: np.ndarray | Tensor) -> Tensor:
    """A Cholesky factor `(432, 432)` of a covariance of which the lower triangle is given."""
    covariance = torch.zeros(432, 432)
    covariance[*torch.tril_indices(432, 432)] = torch.as_tensor(packed).float()
    covariance += covariance.tril(-1).T
    covariance += 1e-4 * covariance.diagonal().mean() * torch.eye(432)  # so that it is invertible
    return torch.linalg.cholesky(covariance.double()).float()


def draw_noise(n: int, factor: Tensor, k: int = 19) -> Tensor:
    """Noise of covariance `factor @ factor.T`, `(n, k, 432)`."""
    return torch.randn(n, k, 432, generator=torch.Generator("cpu").manual_seed(7)) @ factor.T


def add_noise(filled: Tensor, masks: Tensor, noise: Tensor) -> Tensor:
    """Samples `(N, K, 3, H, W)`: composites' 12x12 holes plus noise `(N, K, 432)`."""
    noise = noise.unflatten(2, (3, 12, 12))
    parts = (utils.cut_windows(filled, masks, 12)[:, None] + noise).clamp(0, 1)
    filled, masks = (x.repeat_interleave(noise.shape[1], dim=0) for x in (filled, masks))
    return utils.put_back(parts.flatten(0, 1), filled, masks).unflatten(0, noise.shape[:2])


def fit_noise(
    parts: dict[str, Tensor], photos: utils.Photos, factor: Tensor,
    sizes: dict[str, Tensor] | None = None,
) -> tuple[Tensor, np.ndarray]:  # fmt: skip
    """19 samples for each test image, and the log-density in nats of their holes: answers, `uint8`
    parts `(N, 3, 12, 12)` of the splits validation and test, plus noise, which may have a size for
    each image. How large all of it is, is chosen on validation images, for each of the two apart.
    """
    sizes, errors = sizes or {split: torch.ones(len(part)) for split, part in parts.items()}, {}
    for split, part in parts.items():
        images, masks = getattr(photos, split) / 255, utils.evaluation_masks("random", len(part))
        errors[split] = (utils.cut_windows(images, masks, 12) - part / 255).flatten(1)
    answers = (parts["validation"] / 255).flatten(1)[:, None]
    noise = draw_noise(len(answers), factor) * sizes["validation"][:, None, None]
    ranks = torch.linspace(-1, 1, noise.shape[1])[:, None]

    def judge(size: float) -> float:  # the CRPS of `score_samples`, of sorted draws
        draws = (answers + size * noise).clamp(0, 1)
        off = (draws - answers - errors["validation"][:, None]).abs().mean()
        return float(off - (draws.sort(dim=1).values * ranks).mean())

    size = min((0.7 + 0.05 * i for i in range(12)), key=judge)
    filled = utils.put_back(parts["test"] / 255, images, masks)  # the last split is the test images
    noise = size * sizes["test"][:, None, None] * draw_noise(len(filled), factor)
    samples = add_noise(filled, masks, noise)
    errors = {split: error / sizes[split][:, None] for split, error in errors.items()}
    white = torch.linalg.solve_triangular(factor, errors["validation"].T, upper=False)
    best = white.square().mean().sqrt()  # for the density, in closed form
    gaussian = torch.distributions.MultivariateNormal(torch.zeros(432), scale_tril=best * factor)
    return samples, (gaussian.log_prob(errors["test"]) - 432 * sizes["test"].log()).numpy()


def predict_sizes(parts: dict[str, Tensor], photos: utils.Photos) -> dict[str, Tensor]:
    """How large the errors of answers, `uint8` parts of the splits validation and test, will be,
    `(N,)` a split, judged from the known pixels near the hole and the answer: a linear regression
    of the logarithm, on validation images.
    """
    known, errors = {}, {}
    for split, part in parts.items():
        images, masks = getattr(photos, split) / 255, utils.evaluation_masks("random", len(part))
        filled = utils.put_back(part / 255, images, masks)
        near = utils.cut_windows(filled, masks, 12, margin=4)
        looks = [x.std(dim=(1, 2, 3)) for x in (near, part / 255, filled)]
        looks.append(sum(near.diff(dim=d).abs().mean(dim=(1, 2, 3)) for d in (2, 3)))
        looks = [look.clamp(min=1e-3).log() for look in looks]
        known[split] = torch.stack([torch.ones(len(part)), *looks], dim=1)
        error = utils.cut_windows(images, masks, 12) - part / 255
        errors[split] = error.square().mean(dim=(1, 2, 3)).sqrt()
    logarithms = errors["validation"].clamp(min=1e-3).log()
    weights = torch.linalg.lstsq(known["validation"], logarithms[:, None]).solution
    return {split: (some @ weights)[:, 0].exp() for split, some in known.items()}


def noise_rows(
    name: str, answer: dict[str, Tensor], photos: utils.Photos
) -> dict[str, tuple[Tensor, np.ndarray]]:
    """What `fit_noise` gives for a filler, of which `runs.measure_errors` tells answers and errors'
    covariance: plus correlated noise, white noise, and correlated noise of predicted size.
    """
    parts = {split: answer[split] for split in ("validation", "test")}
    factor = unpack_covariance(answer["covariance"])
    rms = factor.square().sum(dim=1).mean().sqrt()
    rows = {f"{name} + correlated noise": fit_noise(parts, photos, factor)}
    rows[f"{name} + white noise"] = fit_noise(parts, photos, rms * torch.eye(432))
    predicted = fit_noise(parts, photos, factor / rms, predict_sizes(parts, photos))
    rows[f"{name} + correlated noise, size predicted"] = predicted
    return rows
