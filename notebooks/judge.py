"""Judging many answers for one hole (notebook 3): draws, scores, the critic. Samples are composites
`(N, K, 3, H, W)` in [0, 1] of N `uint8` images.
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


def variance_and_error(
    samples: Tensor, images: Tensor, masks: Tensor, transform: Callable
) -> tuple[Tensor, Tensor]:
    """Of each value `(3, 12, 12)` of the transformed 12x12 holes: the samples' mean variance, and
    the mean squared error of infinitely many samples' mean. Right samples have the same of both.
    """
    parts = [utils.cut_windows(x, masks, 12) for x in samples.unbind(dim=1)]
    values = transform(torch.stack(parts, dim=1))
    truth = transform(utils.cut_windows(images / 255, masks, 12))
    variance = values.var(dim=1)
    error = (values.mean(dim=1) - truth).square() - variance / len(parts)
    return variance.mean(dim=0), error.mean(dim=0)


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
def critic(filled: Tensor, images: Tensor, masks: Tensor) -> Tensor:
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
    return right.mean(dim=1)


def ask_critic(samples: dict[str, Tensor], images: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """What the critic says of the first sample of each filler."""
    return {name: critic(draws[:, 0], images, masks) for name, draws in samples.items()}


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


# ------------------------------------------------------------------------------------- all of them
def judge_filler(filler: Callable, photos: utils.Photos) -> dict[str, float]:
    """The scores on validation images, random holes, of 19 samples by `filler(generator, images,
    masks)`; and what the `critic` says, in %, which needs more: as many training images join in.
    """
    images, more = photos.validation, photos.train[: len(photos.validation)]
    masks = utils.evaluation_masks("random", len(images))
    scores = score_samples(draw_by_turns(filler, images, masks, 19), images, masks).mean()
    images = torch.cat([images, more])
    masks = utils.evaluation_masks("random", len(images))
    right = critic(draw_by_turns(filler, images, masks, 1)[:, 0], images, masks)
    found = {"crps": scores.crps, "psnr_mean": utils.psnr([scores.mse_mean])}
    found["sharpness"] = scores.gradient / scores.true_gradient
    return found | {"coverage": scores.coverage, "critic": 100 * float(right.mean())}


def judge_fillers(fillers: dict[str, Callable], photos: utils.Photos) -> dict[str, Tensor]:
    """The scores of `judge_filler` in their order, for each filler."""
    return {name: torch.tensor([*judge_filler(x, photos).values()]) for name, x in fillers.items()}
