"""How notebooks report: intervals, rows of results, what later ones need, pictures, tables."""

import textwrap
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scipy
import torch
import torch.nn.functional as F
from IPython import display
from matplotlib.collections import LineCollection
from PIL import Image
from torch import Tensor, nn
from torchvision.utils import make_grid

import utils

plt.rcParams.update({"image.interpolation": "nearest", "figure.constrained_layout.use": True})


# --------------------------------------------------------------------------------------- intervals
def interval(statistic: Callable, *samples: np.ndarray) -> tuple[float, float]:
    """95 % percentile bootstrap interval of `statistic(*samples, axis)`: 10,000 resamples of the
    images, paired.
    """
    options = {"n_resamples": 10_000, "batch": 1000, "paired": True, "method": "percentile"}
    found = scipy.stats.bootstrap(samples, statistic, rng=0, **options)
    return tuple(map(float, found.confidence_interval))


def compare(statistic: Callable, ours: np.ndarray, theirs: np.ndarray, unit: str = "") -> str:
    """`psnr` or `np.mean` of ours less theirs (dB, nats or no unit), or by how many % it is more,
    with its paired interval.
    """
    form = {"dB": "+.3f", "%": "+.1f", "nats": "+.0f", "": "+.4f"}[unit]

    def change(ours: np.ndarray, theirs: np.ndarray, axis: int) -> np.ndarray:
        ours, theirs = statistic(ours, axis=axis), statistic(theirs, axis=axis)
        return 100 * (ours / theirs - 1) if unit == "%" else ours - theirs

    low, high = interval(change, ours, theirs)
    told = f"{change(ours, theirs, 0):{form}} {unit}".rstrip()
    return f"{told} [{low:{form}}, {high:{form}}]"


# ------------------------------------------------------------------------------------------ results
COLUMNS = [
    *("notebook", "model", "trained_on", "hole", "dataset", "effort", "parameters"),
    *("epochs", "seconds", "device", "psnr", "psnr_low", "psnr_high", "mae", "ssim", "sharpness"),
    *("crps", "crps_low", "crps_high", "crps_4x4", "loglik", "diversity", "psnr_mean"),
    *("psnr_best", "coverage", "energy", "critic", "images"),
]


def summarise(scores: pd.DataFrame) -> dict[str, float]:
    """The means, and some intervals, of `score_images`, whose MAE and RMS are the CRPS and energy
    score of one answer, or of `score_samples`.
    """
    if "coverage" not in scores:
        scores = scores.assign(crps=scores.mae, energy=scores.mse**0.5)
        scores = scores.rename(columns={"mae_4x4": "crps_4x4"})
    found = scores.mean().to_dict()
    found["sharpness"] = scores.gradient.mean() / scores.true_gradient.mean()
    found["psnr_low"], found["psnr_high"] = interval(utils.psnr, scores.mse)
    found["crps_low"], found["crps_high"] = interval(np.mean, scores.crps)
    for name, squares in scores.filter(like="mse").items():
        found[name.replace("mse", "psnr")] = utils.psnr(squares)
    return found


def make_row(
    notebook: int, model: str, trained_on: str, hole: str, photos: utils.Photos,
    scores: pd.DataFrame, network: nn.Module | None = None, log: pd.DataFrame | None = None,
) -> dict:  # fmt: skip
    """A row of results: which filler on which kind of hole, of a trained one its network and its
    training's log, and its scores.
    """
    row = {"notebook": notebook, "model": model, "trained_on": trained_on, "hole": hole}
    effort = utils.get_effort().replace("update", "full")  # of which a part was trained before
    row |= {"dataset": photos.name, "effort": effort, "device": utils.DEVICE.type}
    row["images"] = utils.fingerprint(*photos[1:4])
    if network is not None:
        row["parameters"] = sum(p.numel() for p in network.parameters())
        row |= {"epochs": log.epoch.iloc[-1], "seconds": round(log.seconds.iloc[-1])}
    return row | {name: x for name, x in summarise(scores).items() if name in COLUMNS}


def by_hole(rows: list[dict] | pd.DataFrame) -> pd.DataFrame:
    """Rows of results as a table, a row a filler: PSNR by kind of hole, with its interval, and of
    random holes mae, ssim and sharpness.
    """
    table = pd.DataFrame(rows).astype({"trained_on": object}).fillna({"trained_on": ""})
    kinds = [f", trained on {kind} holes" if kind else "" for kind in table.trained_on]
    table["filler"] = table.model + kinds
    wide = table.pivot_table(["psnr", "psnr_low", "psnr_high"], "filler", "hole", sort=False)
    wide.columns = [hole + score.removeprefix("psnr") for score, hole in wide.columns]
    random = table[table.hole == "random"].set_index("filler")
    return wide.join(random[["mae", "ssim", "sharpness"]])


def keep(notebook: str, photos: utils.Photos, rows: list[dict], **arrays: np.ndarray) -> None:
    """Write a notebook's results, and what later ones need of it, for this run."""
    table = pd.DataFrame(rows).reindex(columns=COLUMNS).replace("", None).convert_dtypes()
    place, options = utils.run_folder(photos), {"index": False, "float_format": "%.7g"}
    utils.write_whole(place / f"{notebook}.csv", lambda path: table.to_csv(path, **options))
    which, images = pick_shown(photos.test).numpy(), utils.fingerprint(*photos[1:4])
    arrays |= {"made_with": [photos.name, utils.get_effort(), images], "which": which}
    arrays |= {"count": len(photos.test), "photographs": photos.test[which].numpy()}
    utils.write_whole(place / f"{notebook}.npz", lambda path: np.savez_compressed(path, **arrays))


def error_by_distance(filled: Tensor, images: Tensor, masks: Tensor) -> pd.Series:
    """Mean absolute error of hidden pixels by their distance to the nearest known one, rounded."""
    hole = (masks[:, 0] == 0).numpy()
    apart = 1e4, 1, 1  # images lie 10,000 pixels apart
    distance = scipy.ndimage.distance_transform_edt(hole, sampling=apart)[hole]
    error = pd.Series((filled - images / 255).abs().mean(dim=1).numpy()[hole])
    return error.groupby(distance.round().astype(int)).mean()


# ---------------------------------------------------------------------------------------- pictures
def show(figure: plt.Figure, alt: str, save_as: str | None = None) -> None:
    """Show a figure, in few colours to keep notebooks small; `alt` describes it, `save_as` names
    the copy that the README shows.
    """
    figure.canvas.draw()
    pixels = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    picture = pixels.quantize(256, kmeans=1, dither=0)
    plt.close(figure)
    display.display(picture, metadata={"image/png": {"alt": " ".join(alt.split())}})
    if save_as:
        utils.write_whole(utils.OUTPUT / "readme_image" / save_as, picture.save)


def show_grid(rows: dict[str, Tensor], title: str) -> None:
    """Draw the images `(N, 3, H, W)` in [0, 1] of each name in a row, the name at its left."""
    count = len(next(iter(rows.values())))
    size = count + 1.4, 1.07 * len(rows) + 0.5
    figure, axes = plt.subplots(len(rows), 1, figsize=size, squeeze=False)
    for axis, (name, row) in zip(axes[:, 0], rows.items(), strict=True):
        axis.imshow(make_grid(row, nrow=count, padding=1, pad_value=0.5).movedim(0, -1).numpy())
        options = {"rotation": 0, "ha": "right", "va": "center", "fontsize": 9}
        axis.set_ylabel(textwrap.fill(name, 13), **options)
        axis.set(xticks=(), yticks=(), frame_on=False)
    figure.suptitle(title, fontsize=10)
    title = ", ".join(title.splitlines())
    show(figure, f"{title}. {count} columns; rows from the top: {'; '.join(rows)}.")


def pick_shown(images: Tensor) -> Tensor:
    """The numbers of the five photographs to show, from easy to hard, of at most the first 1,000
    `uint8` images: at evenly spaced ranks of heat diffusion's error in their random holes.
    """
    images = images[:1000]
    masks = utils.evaluation_masks("random", len(images))
    order = utils.score_images(
        utils.fill_images(utils.fill_heat, images, masks), images, masks
    ).mse.argsort()
    return torch.tensor([order[tenth * len(order) // 10] for tenth in (1, 3, 5, 7, 9)])


def show_fills(
    fills: dict[str, Tensor], images: Tensor, masks: Tensor, title: str, save_as: str | None = None
) -> None:
    """A row for each of a few `uint8` images: the photograph, its hole outlined, then the hole and
    4 pixels around it, enlarged: in the composites `(N, 3, H, W)` of each name, and in the truth.
    """
    columns, size = {"photograph": images / 255} | fills | {"truth": images / 255}, masks.shape[-1]
    inches = min(1.8, 10.8 / len(columns))  # of one picture: together as broad as a page
    figsize = inches * len(columns), inches * len(images) + 0.8
    figure, axes = plt.subplots(len(images), len(columns), figsize=figsize, squeeze=False)
    for i, row in enumerate(axes):
        spots = (masks[i, 0] == 0).nonzero()
        first, last = spots.amin(dim=0), spots.amax(dim=0)
        side = min(size, int((last - first).max()) + 9)  # a square, moved to lie in the photograph
        top, left = ((first + last + 1 - side) // 2).clamp(0, size - side).tolist()
        for axis, (name, pictures) in zip(row, columns.items(), strict=True):
            axis.imshow(pictures[i].movedim(0, -1).clamp(0, 1).numpy())
            outline(axis, masks[i, 0])
            axis.set(xticks=(), yticks=())
            if name != "photograph":
                axis.set(xlim=(left - 0.5, left + side - 0.5), ylim=(top + side - 0.5, top - 0.5))
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(textwrap.fill(name, int(13 * inches)), fontsize=9)
    figure.suptitle(title, fontsize=10)
    alt = (
        f"{', '.join(title.splitlines())}. {len(images)} photographs, one a row, each with its hole"
    )
    alt += f" outlined; beside it, larger, it is filled by {', '.join(fills)}; last the truth."
    show(figure, alt, save_as)


def outline(axis: plt.Axes, mask: Tensor) -> None:
    """Draw the edge of the hole of a mask `(H, W)`: white on black, seen on every photograph."""
    padded = F.pad(mask, (1, 1, 1, 1), value=1)
    across, down = (padded.diff(dim=d).nonzero().tolist() for d in (1, 0))
    edges = [[(x - 0.5, y - 1.5), (x - 0.5, y - 0.5)] for y, x in across]
    edges += [[(x - 1.5, y - 0.5), (x - 0.5, y - 0.5)] for y, x in down]
    for colour, width in (("black", 2.2), ("white", 0.9)):
        options = {"colors": colour, "linewidths": width, "capstyle": "projecting"}
        axis.add_collection(LineCollection(edges, **options))


def draw_curves(
    panels: dict[str, pd.DataFrame], xlabel: str, ylabel: str, title: str, **options: object
) -> None:
    """Draw each frame's columns over its index, a panel a frame, the legend below; `options` are
    `Axes.set`'s.
    """
    size = 3 + 3 * len(panels), 3.6
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    names = list(dict.fromkeys(column for frame in panels.values() for column in frame))
    told, lines = [], {}
    for axis, (panel, frame) in zip(axes[0], panels.items(), strict=True):
        for column, values in frame.items():
            values, number = values.dropna(), names.index(column)
            style = "os^vDxP*"[number % 8] + ("-", "--", "-.", ":")[number % 4]
            lines[column], *_ = axis.plot(values.index, values, style, color=f"C{number}")
            told.append(f"{panel} {column} from {values.iloc[0]:.4g} to {values.iloc[-1]:.4g}")
        axis.set(title=panel, xlabel=xlabel, **options)
        axis.grid()
    axes[0, 0].set_ylabel(ylabel)
    if len(lines) > 1:
        place = {"loc": "outside lower center", "ncols": 1 + len(panels), "fontsize": 9}
        figure.legend(lines.values(), lines.keys(), **place)
    figure.suptitle(textwrap.fill(title, 36 * (1 + len(panels))), fontsize=10)
    show(figure, f"{title}. {ylabel} over {xlabel}: {'; '.join(told)}.")


def show_table(table: pd.DataFrame, columns: dict[str, tuple], caption: str) -> None:
    """Show columns, each with its digits, and in bold its best (`max` or `min`); with the interval
    where `*_low` and `*_high` are there.
    """
    rows = [f"| {table.index.name or ''} | {' | '.join(columns)} |"]
    rows.append("| --- " + "| ---: " * len(columns) + "|")
    for name, row in table.iterrows():
        cells = []
        for column, (digits, best) in columns.items():
            text = "" if pd.isna(row[column]) else f"{row[column]:.{digits}f}"
            if text and f"{column}_low" in table:
                low, high = row[f"{column}_low"], row[f"{column}_high"]
                text += f" [{low:.{digits}f}, {high:.{digits}f}]"
            if text and best and row[column] == best(table[column].dropna()):
                text = f"**{text}**"
            cells.append(text)
        rows.append(f"| {name} | {' | '.join(cells)} |")
    display.display(display.Markdown("\n".join([caption, "", *rows])))
