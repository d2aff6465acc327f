"""Judging many answers for one hole (notebook 3): draws, scores, the critic, noise as a rival.
Samples are composites `(N, K, 3, H, W)` in [0, 1] of N `uint8` images.
"""

import functools
import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import utils
from layers import conv


# ------------------------------------------------------------------------------------------- draws
def draw_by_turns(filler: Callable, images: Tensor, masks: Tensor, k: int) -> Tensor:
    """K samples by `filler(generator, images, masks)`, every other one drawn for the mirror image
    and mirrored back.
    """
    filler = functools.partial(filler, torch.Generator("cpu").manual_seed(7))
    fills = []
    for i in range(k):
        if i % 2 == 0:
            fills.append(utils.fill_images(filler, images, masks))
        else:
            fills.append(utils.fill_images(filler, images.flip(3), masks.flip(3)).flip(3))
    return torch.stack(fills, dim=1)


def weigh_by_turns(weigh: Callable, images: Tensor, masks: Tensor) -> Tensor:
    """What `weigh(generator, images, masks)` says, `(N, K)`, of images and by turns of their mirror
    images: `(N, 2 K)` on the CPU.
    """
    found, generator = [], torch.Generator("cpu").manual_seed(7)
    with torch.inference_mode():
        for some, some_masks in zip(images.split(50), masks.split(50), strict=True):
            some, some_masks = some.to(utils.DEVICE) / 255, some_masks.to(utils.DEVICE)
            straight = weigh(generator, some, some_masks).cpu()
            mirrored = weigh(generator, some.flip(3), some_masks.flip(3)).cpu()
            found.append(torch.stack([straight, mirrored], dim=2).flatten(1))
    return torch.cat(found)


# ------------------------------------------------------------------------------------------ scores
class Hidden:
    """The M hidden values of all images: of the samples `(K, M)`, of the truth `(M,)`, and how many
    samples lie below the truth, ties broken at random.
    """

    def __init__(self, samples: Tensor, images: Tensor, masks: Tensor):
        hidden = (masks == 0).expand_as(images)
        self.values = np.stack([x[hidden].numpy() for x in samples.unbind(dim=1)])
        self.truth = (images[hidden] / 255).numpy()
        below, ties = self.values < self.truth, self.values == self.truth
        chance = np.random.default_rng(7).integers(ties.sum(axis=0) + 1)
        self.ranks = below.sum(axis=0) + chance
        self.sizes = hidden.sum(dim=(1, 2, 3)).numpy()  # of each image

    def mean(self, x: np.ndarray) -> np.ndarray:
        """Each image's mean of `(..., M)`: `(..., N)`."""
        return np.add.reduceat(x, self.sizes.cumsum() - self.sizes, axis=-1) / self.sizes


def score_samples(samples: Tensor, images: Tensor, masks: Tensor) -> pd.DataFrame:
    """Scores of K > 1 samples, a row an image: `score_images` of the first one, and of all of them

    energy, crps      energy score of the hole by RMS distance, and CRPS, that of a value (Gneiting
                      & Raftery 2007), fair for any K (Ferro 2014); crps_4x4 is of means of 4x4
                      pixels, in 12x12 holes
    diversity         two samples' mean absolute distance
    mse_mean          of the mean of infinitely many samples
    mse_best          of the best of these K
    coverage          the share of values not among the 2 lowest or highest of K + 1 ranks
    """
    k, hidden = samples.shape[1], Hidden(samples, images, masks)
    values, truth, mean = hidden.values, hidden.truth, hidden.mean
    distances = {"energy": lambda x: mean(x * x) ** 0.5, "crps": lambda x: mean(np.abs(x))}
    if (hidden.sizes == 3 * 12 * 12).all():
        distances["crps_4x4"] = lambda x: np.abs(average_blocks(x)).mean(axis=(1, 2))
    scores = {"coverage": mean((hidden.ranks >= 2) & (hidden.ranks <= k - 2))}
    scores["mse_best"] = mean((values - truth) ** 2).min(axis=0)
    error, luck = values.mean(axis=0) - truth, values.var(axis=0, ddof=1) / k
    scores["mse_mean"] = mean(error**2 - luck)
    for name, distance in distances.items():
        pairs = [distance(a - b) for a, b in itertools.combinations(values, 2)]
        off = [distance(x - truth) for x in values]
        scores[name] = np.mean(off, axis=0) - np.mean(pairs, axis=0) / 2
    scores["diversity"] = 2 * (mean(np.abs(values - truth)).mean(axis=0) - scores["crps"])
    return utils.score_images(samples[:, 0], images, masks).assign(**scores)


def average_blocks(x: np.ndarray) -> np.ndarray:
    """The means of 4x4 pixels of N 12x12 holes' values `(N * 3 * 12 * 12,)`: `(N, 3 * 3, 3)`."""
    return x.reshape(-1, 9, 4, 3, 4).mean(axis=(2, 4))


def spread_against_error(samples: Tensor, images: Tensor, masks: Tensor) -> pd.DataFrame:
    """Ten classes of values in 12x12 holes, certain ones first among those equally far from the
    rim: RMS `error` of the samples' mean, and the `spread` that predicts it (Fortin 2014).
    """
    hidden = Hidden(samples, images, masks)
    depth = np.minimum(np.arange(12), np.arange(12)[::-1])  # of a row or column, 0 at the edge
    depths = np.tile(np.minimum.outer(depth, depth).ravel(), 3 * len(images))
    # Half of the samples choose a value's class, so that the others do not share their luck.
    chooses, rest = np.array_split(hidden.values, 2)
    ranks = pd.Series(chooses.var(axis=0)).groupby(depths).rank(method="first", pct=True)
    squares = {"spread": rest.var(axis=0, ddof=1) * (1 + 1 / len(rest))}
    squares["error"] = (rest.mean(axis=0) - hidden.truth) ** 2
    return pd.DataFrame(squares).groupby(np.ceil(10 * ranks)).mean() ** 0.5


# ------------------------------------------------------------------------------------------ critic
def critic(filled: Tensor, images: Tensor, masks: Tensor) -> np.ndarray:
    """Of each image's two windows, the 12x12 hole and 4 pixels around it as photograph and as
    filled, the share that a small network tells right which learned it on other images, five-fold:
    0.5 if it cannot (Lopez-Paz & Oquab 2017).
    """
    truth, parts = images / 255, utils.cut_windows(filled, masks, 12)
    filled = utils.put_back(parts, truth, masks).mul(255).round() / 255
    windows = [utils.cut_windows(x, masks, 12, margin=4) for x in (truth, filled)]
    windows, right = torch.stack(windows, dim=1).to(utils.DEVICE), torch.zeros(len(images), 2)
    sign = torch.tensor([1.0, -1.0], device=utils.DEVICE)  # an answer above 0: a fill
    with torch.random.fork_rng(devices=()):  # all chance is the CPU's, and the caller's goes on
        torch.default_generator.manual_seed(0)
        folds = torch.randperm(len(images)) % 5
        for asked in folds == torch.arange(5)[:, None]:
            network = train_critic(windows[~asked], sign)
            answers = network.eval()(windows[asked].flatten(0, 1)).view(-1, 2)
            right[asked] = (sign * answers < 0).float().cpu()
    return right.mean(dim=1).numpy()


def train_critic(windows: Tensor, sign: Tensor) -> nn.Module:
    """A network that learned to answer below 0 for the first of each two windows `(N, 2, 3, 20,
    20)`, and above 0 for the second, in four epochs.
    """
    layers = [conv(3, 32), nn.ReLU(), conv(32, 64, 4, 2), nn.BatchNorm2d(64), nn.ReLU()]
    layers += [conv(64, 96, 4, 2), nn.BatchNorm2d(96), nn.ReLU()]
    layers += [nn.Flatten(), nn.Linear(96 * 5 * 5, 1)]
    network = nn.Sequential(*layers).to(utils.DEVICE)
    seen = torch.cat([windows, windows.flip(4)])
    batches = torch.cat([torch.randperm(len(seen)) for _ in range(4)]).split(16)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, len(batches))
    for batch in batches:
        optimizer.zero_grad()
        answers = network(seen[batch].flatten(0, 1)).view(-1, 2)
        F.softplus(sign * answers).mean().backward()
        optimizer.step()
        schedule.step()
    return network


# ------------------------------------------------------------------------------- noise as a rival
# One answer, and noise as its variety: such fillers have no latent, and keep a table honest.
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


def add_noise(filled: Tensor, masks: Tensor, factor: Tensor, sizes: Tensor) -> Tensor:
    """Samples: 12x12 holes of composites `(N, 3, H, W)` plus noise times `sizes` `(N, 1, 1)`."""
    noise = (draw_noise(len(filled), factor) * sizes).unflatten(2, (3, 12, 12))
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
    samples = add_noise(filled, masks, factor, size * sizes["test"][:, None, None])
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
    name: str, parts: dict[str, Tensor], packed: np.ndarray | Tensor, photos: utils.Photos
) -> dict[str, tuple[Tensor, np.ndarray]]:
    """What `fit_noise` gives for the answers of the filler `name` plus correlated noise, whose
    covariance is `packed`, plus white noise, and plus correlated noise whose size is predicted.
    """
    factor = unpack_covariance(packed)
    rms = factor.square().sum(dim=1).mean().sqrt()
    rows = {f"{name} + correlated noise": fit_noise(parts, photos, factor)}
    rows[f"{name} + white noise"] = fit_noise(parts, photos, rms * torch.eye(432))
    predicted = fit_noise(parts, photos, factor / rms, predict_sizes(parts, photos))
    rows[f"{name} + correlated noise, size predicted"] = predicted
    return rows
