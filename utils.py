"""What the three notebooks share: settings, data, holes, input, baselines, training, metrics, results, pictures.

`images`: float tensor `(N, 3, H, W)` in [0, 1], at rest `uint8`; `masks`: `(N, 1, H, W)`, 1 = known pixel, 0 = hole.
"""

import ast
import base64
import functools
import hashlib
import inspect
import io
import json
import os
import shutil
import tempfile
import textwrap
import time
import types
import warnings
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pooch
import scipy
import skimage
import torch
import torch.nn.functional as F
from filelock import FileLock
from IPython import display, get_ipython
from IPython.utils.capture import capture_output
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from skimage.restoration import inpaint_biharmonic
from torch import nn
from traitlets import Dict, observe

# ------------------------------------------------------------------------------------------------------------- settings
ROOT = Path(__file__).resolve().parent
DATA = ROOT / "data"
PATIENCE = 20  # seconds that a download may pass without a byte
# Everything a run writes goes below this folder; `make notebooks` alone sets it to the repository itself.
OUTPUT = ROOT / (os.environ.get("IMAGE_FILL_OUTPUT") or "build")
BEST_DEVICE = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
DEVICE = torch.device(os.environ.get("IMAGE_FILL_DEVICE") or BEST_DEVICE)
# What a run does of the full work: the share of the epochs, and the most images that it takes of a split. At "stored"
# the trainings are those of the stored run, and nothing is trained.
EFFORTS = {"stored": (1.0, None), "full": (1.0, None), "quick": (0.1, 3000), "smoke": (0.0, 64)}
plt.rcParams.update({"image.interpolation": "nearest", "figure.dpi": 100, "figure.constrained_layout.use": True})


def get_effort() -> str:
    """The effort that IMAGE_FILL_EFFORT names; unset, it is full on a GPU and stored without one."""
    effort = os.environ.get("IMAGE_FILL_EFFORT") or ("stored" if DEVICE.type == "cpu" else "full")
    if effort not in EFFORTS:
        raise ValueError(f"IMAGE_FILL_EFFORT is {effort!r}; it can be {', '.join(EFFORTS)}.")
    return effort


def get_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes with it in hardware, float32 elsewhere (a T4 only emulates bfloat16)."""
    cpu = any(getattr(torch.cpu, f"_is_{kind}_supported", bool)() for kind in ("avx512_bf16", "amx_tile"))
    cuda = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if cuda or (cpu and device.type == "cpu") else torch.float32


def get_machine() -> str:
    """The machine in words: the name of its GPU, or the number of its cores."""
    return torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"{os.cpu_count()} {DEVICE.type.upper()} cores"


def announce(notebook: str) -> None:
    """Print at what effort and on what device `notebook` runs, how long that takes, and how to change it."""
    print(f"Effort {get_effort()!r}, on {DEVICE.type} in {str(get_precision(DEVICE)).removeprefix('torch.')}.")
    if (path := DATA / f"{notebook}.npz").exists():
        machine, (training, rest) = (np.load(path)[name] for name in ("machine", "minutes"))
        print(f"An earlier run on {machine} took {training + rest:.0f} minutes at full effort;", end=" ")
        print(f"this effort takes about {max(1, training * EFFORTS[get_effort()][0] + rest):.0f} there, less on a GPU.")
    print(f"To change it, set the variable IMAGE_FILL_EFFORT to {', '.join(EFFORTS)} and restart the kernel.")


# ----------------------------------------------------------------------------------------------------------------- data
_SHIPPED = Path(skimage.__file__).parent / "data"
STAND_IN = {  # photographs that scikit-image and Matplotlib ship, and how many crops are taken of each
    "train": ([_SHIPPED / name for name in ("astronaut.png", "chelsea.png", "coffee.png")], 600),
    "validation": ([_SHIPPED / "rocket.jpg"], 200),
    "test": ([_SHIPPED / "motorcycle_left.png", Path(matplotlib.get_data_path(), "sample_data/grace_hopper.jpg")], 200),
}


class Photos(NamedTuple):
    """A data set at rest: `uint8` tensors `(N, 3, 32, 32)`, and the name that pictures and tables give it."""

    name: str
    train: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor


def load_images(data: str | None = None, class_name: str = "automobile") -> Photos:
    """Load the photographs that `data`, or else the variable IMAGE_FILL_DATA, names, as many as the effort takes.

    unset     CIFAR-10, downloaded at need; where that fails the stand-in photographs, with a warning
    cifar10   CIFAR-10, or a RuntimeError that says how to get it
    photos    the stand-in: crops of the photographs that scikit-image and Matplotlib ship
    a folder  with train/<class>/ and test/<class>/, or flat train/ and test/; a relative one is seen from the
              repository's root, and `name=folder` says how pictures and tables shall call it

    The last tenth of the training images, at most 500, is the validation set. Raises ValueError for an unknown class
    or an unreadable image, FileNotFoundError where a folder has not this layout.
    """
    data, most = data or os.environ.get("IMAGE_FILL_DATA", ""), EFFORTS[get_effort()][1]
    if data == "photos":
        name, train, test = _crop_stand_in()
    elif data not in ("", "cifar10"):
        name, train, test = _read_folder(data, class_name)
    else:
        try:
            name, train, test = _read_cifar10(class_name)
        except RuntimeError as error:
            if data == "cifar10":
                raise
            warnings.warn(f"STAND-IN PHOTOGRAPHS ARE USED INSTEAD OF CIFAR-10. {error}", stacklevel=2)
            name, train, test = _crop_stand_in()
    train, test = (torch.from_numpy(split).permute(0, 3, 1, 2).contiguous() for split in (train, test))
    split = len(train) - min(500, max(1, len(train) // 10))
    return Photos(name, train[:split][:most], train[split:][:most], test[:most])


def _read_cifar10(class_name: str) -> tuple[str, np.ndarray, np.ndarray]:
    name, kept = f"CIFAR-10 {class_name}s", DATA / f"cifar-10-batches-py/{class_name}.npz"
    with suppress(Exception), np.load(kept) as arrays:  # an earlier run's, if it is there and whole
        return name, arrays["train"], arrays["test"]
    from torchvision.datasets import CIFAR10

    def load() -> list[CIFAR10]:  # torchvision checks each file's MD5 sum before it unpickles it, or RuntimeError
        return [CIFAR10(DATA, train) for train in (True, False)]

    try:
        splits = load()
    except RuntimeError:
        splits = _fetch_cifar10(CIFAR10, load)
    if class_name not in splits[0].classes:
        raise ValueError(f"CIFAR-10 has no class {class_name!r}; it has {', '.join(splits[0].classes)}.")
    train, test = (s.data[np.array(s.targets) == s.class_to_idx[class_name]] for s in splits)
    with suppress(OSError):  # a folder that cannot be written
        _write_whole(kept, lambda temporary: np.savez(temporary, train=train, test=test))
    return name, train, test


def _fetch_cifar10(cifar10: type, load: Callable) -> list:
    """Download and unpack CIFAR-10 beside its place, then rename it into its place, one process at a time."""
    archive, place = DATA / cifar10.filename, DATA / cifar10.base_folder
    try:
        with FileLock(DATA / "cifar-10.lock"), tempfile.TemporaryDirectory(dir=DATA) as scratch:
            with suppress(RuntimeError):  # another notebook may have fetched it while this one waited for the lock
                return load()
            # torchvision's own download has no time limit: behind a firewall that swallows packets it waits for ever.
            download = pooch.HTTPDownloader(timeout=PATIENCE, progressbar=True)
            pooch.retrieve(cifar10.url, f"md5:{cifar10.tgz_md5}", archive.name, DATA, downloader=download)
            shutil.unpack_archive(archive, scratch)
            shutil.rmtree(place, ignore_errors=True)  # it may be there and broken
            (Path(scratch) / cifar10.base_folder).rename(place)
        return load()
    except (OSError, ValueError) as error:
        reason = f"CIFAR-10 could not be put into {DATA}: {type(error).__name__}: {error}. See that the folder can be"
        remedy = f"written and has 400 MB free, or download {cifar10.url} by hand and put it at {archive}."
        raise RuntimeError(f"{reason} {remedy} IMAGE_FILL_DATA=photos does without it.") from error


def _read_folder(data: str, class_name: str) -> tuple[str, np.ndarray, np.ndarray]:
    title, _, place = ("", "", data) if (ROOT / data).is_dir() else data.rpartition("=")
    folder = ROOT / Path(place).expanduser()
    splits, name, kinds = [], folder.resolve().name, Image.registered_extensions()
    for source in (folder / "train", folder / "test"):
        if not source.is_dir():
            layout = "train/<class>/ and test/<class>/, or the images themselves in train/ and test/"
            raise FileNotFoundError(f"There is no folder {source}. Give cifar10, photos, or a folder with {layout}.")
        if classes := sorted(p.name for p in source.iterdir() if p.is_dir() and not p.name.startswith(".")):
            if class_name not in classes:
                raise ValueError(f"{source} has no class {class_name!r}; it has {', '.join(classes)}.")
            source, name = source / class_name, f"{folder.resolve().name}, {class_name}"
        paths = sorted(p for p in source.iterdir() if p.suffix.lower() in kinds and not p.name.startswith("."))
        if len(paths) < 2:
            raise FileNotFoundError(f"{source} holds {len(paths)} images; at least 2 are needed.")
        splits.append(torch.cat([read_photo(path) for path in paths]).permute(0, 2, 3, 1).numpy())
    return title or name, *splits


def read_photo(path: Path | str, size: int = 32) -> torch.Tensor:
    """An image file of any size and mode as `uint8` `(1, 3, size, size)`: upright, on white, cropped to its centre."""
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow's own conversion would clip at 255
                image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
            if image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
            return torch.from_numpy(np.array(ImageOps.fit(image.convert("RGB"), (size, size)))).permute(2, 0, 1)[None]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}). Mend it or take it away.") from error


def _crop_stand_in(seed: int = 0) -> tuple[str, np.ndarray, np.ndarray]:
    """Crops of 64 to 256 pixels, shrunk to 32, of real photographs: others for training, validation and test."""
    rng, splits = np.random.default_rng(seed), []
    for paths, each in STAND_IN.values():
        crops = []
        for photo in (Image.open(path).convert("RGB") for path in paths):
            for side in rng.integers(64, 257, each):
                left, top = rng.integers(0, photo.width - side + 1), rng.integers(0, photo.height - side + 1)
                crops.append(photo.resize((32, 32), box=(left, top, left + side, top + side)))
        splits.append(rng.permutation(np.stack(crops)))
    return "stand-in photographs", np.concatenate(splits[:2]), splits[2]


# ---------------------------------------------------------------------------------------------------------------- holes
def center_holes(n: int, generator: torch.Generator, size: int = 32) -> torch.Tensor:
    """n masks with one 14x14 hole each, at rows and columns 8..21 of a 32x32 image."""
    return square_holes(torch.full((n, 2), size // 2 - 8, device=generator.device), 14, size)


def random_holes(n: int, generator: torch.Generator, size: int = 32) -> torch.Tensor:
    """n masks with one 12x12 hole each, its top and its left drawn independently over all places inside the image."""
    corners = torch.randint(0, size - 12 + 1, (n, 2), generator=generator, device=generator.device)
    return square_holes(corners, 12, size)


def irregular_holes(n: int, generator: torch.Generator, size: int = 32) -> torch.Tensor:
    """n masks with one brush stroke each: a line through 5 random points, as broad as it takes to hide 10 to 40 %."""
    device = generator.device
    points = torch.rand(n, 5, 2, generator=generator, device=device) * size
    hidden = torch.rand(n, 1, generator=generator, device=device) * 0.3 + 0.1
    start, line = points[:, :-1, None], points.diff(dim=1)[:, :, None]
    pixels = torch.cartesian_prod(*[torch.arange(size, device=device) + 0.5] * 2)
    along = ((pixels - start) * line).sum(-1, keepdim=True) / line.square().sum(-1, keepdim=True).clamp(min=1e-9)
    distance = (pixels - start - along.clamp(0, 1) * line).norm(dim=-1).amin(dim=1)
    rank = distance.argsort(dim=1, stable=True).argsort(dim=1)
    return (rank >= (hidden * size * size).round()).float().view(n, 1, size, size)


HOLES = {"center": center_holes, "random": random_holes, "irregular": irregular_holes}


def square_holes(corners: torch.Tensor, side: int, size: int = 32) -> torch.Tensor:
    """Masks `(N, 1, size, size)` with a hole of `side` pixels whose top and left `corners` `(N, 2)` gives."""
    axis = torch.arange(size, device=corners.device)
    outside = ((axis < corners[:, :, None]) | (axis >= corners[:, :, None] + side)).float()  # of rows and of columns
    return torch.maximum(outside[:, None, 0, :, None], outside[:, None, 1, None, :])


def cut_windows(images: torch.Tensor, masks: torch.Tensor, side: int, margin: int = 0) -> torch.Tensor:
    """Each image's window around its square hole of `side` pixels, `margin` more on all sides, 0 outside the image."""
    axis = torch.arange(side + 2 * margin, device=images.device)
    rows, columns = (_find_corners(masks)[:, :, None] + axis).unbind(dim=1)
    which, padded = torch.arange(len(images), device=images.device)[:, None, None], F.pad(images, (margin,) * 4)
    return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def put_back(parts: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The images, each square hole filled with its part `(N, 3, side, side)`; ValueError for holes of another shape."""
    side, hidden = parts.shape[-1], (masks == 0).sum(dim=(1, 2, 3))
    if not torch.equal(masks, square_holes(_find_corners(masks), side, masks.shape[-1])):
        fit = f"Parts {tuple(parts.shape)} fit one hole of {side}x{side} = {side * side} pixels in each image"
        raise ValueError(f"{fit}; the masks {tuple(masks.shape)} hide {hidden.min()} to {hidden.max()} pixels.")
    return images.masked_scatter(masks == 0, parts)


def _find_corners(masks: torch.Tensor) -> torch.Tensor:
    return torch.stack([masks[:, 0].amin(dim=other).argmin(dim=1) for other in (2, 1)], dim=1)


def evaluation_masks(kind: str, n: int, size: int = 32) -> torch.Tensor:
    """The n masks of this kind that everything is scored on: the same ones on every device and in every notebook."""
    return HOLES[kind](n, torch.Generator("cpu").manual_seed(2026), size)


# ---------------------------------------------------------------------------------------------------------------- input
def network_input(images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The 4 channels that every network sees, `(N, 4, H, W)`: the image with its hole set to 0, and the mask."""
    return torch.cat([images * masks, masks], dim=1)


def composite(fill: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The known pixels of `images`, bit for bit, and `fill` in the hole."""
    return torch.where(masks > 0, images, fill)


def fill_images(filler: Callable, images: torch.Tensor, masks: torch.Tensor, batch_size: int = 250) -> torch.Tensor:
    """Composites, float on the CPU, of `uint8` images, filled in batches by `filler(images, masks)`."""
    filled, autocast = [], torch.autocast(DEVICE.type, torch.bfloat16, enabled=get_precision(DEVICE) == torch.bfloat16)
    with torch.inference_mode(), autocast:
        for some, some_masks in zip(images.split(batch_size), masks.split(batch_size), strict=True):
            some, some_masks = some.to(DEVICE) / 255, some_masks.to(DEVICE)
            fill = filler(some * some_masks, some_masks).float().clamp(0, 1)  # it is not given what it shall guess
            filled.append(composite(fill, some, some_masks).cpu())
    return torch.cat(filled)


# --------------------------------------------------------------------------------------------------------------- layers
# Notebook 2 explains them one by one; notebook 3 uses them too.
def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1, gain: float = 1) -> nn.Conv2d:
    """A convolution with weights after He et al. (2015), times `gain`, and a bias of 0."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    layer.weight.data *= gain
    return layer


class Block(nn.Module):
    """Two convolutions added to their input, `(N, channels, H, W)` to the same; at first it returns its input."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = conv(channels, channels), conv(channels, channels, gain=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


class Encoder(nn.Module):
    """A list: the input `(N, 4, H, W)`, the features at a half and at a quarter, the code `(N, code, H / 8, W / 8)`."""

    def __init__(self, code: int):
        super().__init__()
        self.halve = nn.ModuleList([conv(4, 48, 4, stride=2), conv(48, 96, stride=2), conv(96, 192, stride=2)])
        self.refine = nn.ModuleList([Block(48), Block(96), nn.Sequential(Block(192), Block(192))])
        self.to_code = conv(192, code, kernel=1, padding=0)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = [x]  # 4 x 32 x 32 -> 48 x 16 x 16 -> 96 x 8 x 8 -> 192 x 4 x 4
        for halve, refine in zip(self.halve, self.refine, strict=True):
            features.append(refine(halve(features[-1])))
        return [*features[:-1], self.to_code(features[-1])]


def center(x: torch.Tensor, side: int) -> torch.Tensor:
    """The middle `side` x `side` pixels of `(N, C, H, H)`, a view."""
    start = (x.shape[-1] - side) // 2
    return x[..., start : start + side, start : start + side]


# ------------------------------------------------------------------------------------------------------------ baselines
def fill_mean_colour(images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Everywhere the mean colour of the image's known pixels."""
    return ((images * masks).mean(dim=(2, 3)) / masks.mean(dim=(2, 3)))[:, :, None, None].expand_as(images)


def fill_biharmonic(images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The smoothest surface through the known pixels (biharmonic equation, scikit-image)."""
    holes = (masks[:, 0] == 0).cpu().numpy()  # scikit-image's masks are the other way round: 1 = hole
    pairs = zip(images.cpu().numpy(), holes, strict=True)
    return torch.from_numpy(np.stack([inpaint_biharmonic(p, h, channel_axis=0) for p, h in pairs])).to(images)


def fill_heat(images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Heat diffusion at rest: each hidden pixel is the mean of its neighbours (Laplace's equation, solved directly)."""
    n, _, height, width = images.shape
    colours = images.permute(0, 2, 3, 1).reshape(-1, 3).cpu().double().numpy()
    hole = (masks == 0).flatten().cpu().numpy()
    neighbours, _ = skimage.graph.pixel_graph(np.ones((height, width), dtype=bool))
    every_image = scipy.sparse.kron(scipy.sparse.eye_array(n), scipy.sparse.csgraph.laplacian(neighbours))
    equations = every_image.tocsr()[hole]
    colours[hole] = scipy.sparse.linalg.spsolve(equations[:, hole].tocsc(), -(equations[:, ~hole] @ colours[~hole]))
    return torch.from_numpy(colours).view(n, height, width, 3).permute(0, 3, 1, 2).to(images)


BASELINES = {"mean colour": fill_mean_colour, "biharmonic": fill_biharmonic, "heat diffusion": fill_heat}


# ------------------------------------------------------------------------------------------------------------- training
def train(
    model: nn.Module,
    loss_fn: Callable,
    photos: Photos,
    cut_holes: Callable,
    epochs: int,
    rate: float = 1e-3,
    batch_size: int = 16,
    weight_decay: float = 0.01,
    seed: int = 0,
    name: str | None = None,
    weights: bool = True,
) -> pd.DataFrame:
    """Train `model` in place on new holes and flips at every step, and leave it in its best validated state.

    `loss_fn(model, images, masks, progress)`, `progress` from 0 to 1, returns the loss and a dict of figures to log;
    `cut_holes(n, generator)` masks. The effort scales `epochs`; an interrupt ends them early. Returns the log, a row a
    validation. Raises FloatingPointError at a loss not finite.

    A training with a `name` is stored: its log, and the weights as half precision (not with `weights=False`). At the
    effort "stored" it is not done but taken from data/networks, the weights and the log, or ValueError; a training
    without a name is always done.
    """
    settings = {"rate": rate, "batch_size": batch_size, "weight_decay": weight_decay, "seed": seed}
    if name is None:
        return _run_training(model, loss_fn, photos, cut_holes, epochs, **settings)[0]
    about = {"name": name, "definition": _fingerprint(_describe([model, loss_fn, cut_holes], set()))}
    about |= {"settings": settings | {"epochs": epochs, "trainer": TRAINER}}
    stored = get_effort() == "stored"
    if not stored:
        about |= {"start": _fingerprint(model.state_dict()), "data": photos.name, "images": _fingerprint(photos[1:3])}
        about |= {"effort": get_effort()}
    # `make notebooks` trains only what has changed; elsewhere "full" trains everything, as its reader asked.
    if stored or (OUTPUT == ROOT and get_effort() == "full"):
        taken = _take(model, about, must=stored)
        if taken is not None:
            return taken
    log, finished = _run_training(model, loss_fn, photos, cut_holes, epochs, **settings)
    if not finished:
        return log
    with torch.no_grad():  # what is scored from here on is what is stored
        for tensor in model.state_dict().values():
            tensor.copy_(tensor.half())
    tensors = {key: tensor.half().cpu().contiguous() for key, tensor in model.state_dict().items() if weights}
    about |= {"log": log.to_dict("list"), "weights": weights, "device": DEVICE.type, "machine": get_machine()}
    place = OUTPUT / "data" / "networks" / f"{name}.safetensors"
    _write_whole(place, lambda temporary: save_file(tensors, temporary, {"about": json.dumps(about)}))
    return log


TRAINER = (
    1  # raise it when a change of this module changes what a training gives: those stored before are then not taken
)


def _describe(thing: object, seen: set) -> object:
    """What a network, a loss or a way to cut holes is, as plain data: its layers, and the source, without comments and
    docstrings, of all that the notebook defines of it.
    """
    if isinstance(thing, functools.partial):
        thing = [thing.func, thing.args, thing.keywords]
    if isinstance(thing, nn.Module):
        layers = [f"{name} {type(layer).__name__} {layer.extra_repr()}" for name, layer in thing.named_modules()]
        kinds = {type(layer).__qualname__: type(layer) for layer in thing.modules()}
        return [layers, [f"{key} {tuple(t.shape)}" for key, t in thing.state_dict().items()], _describe(kinds, seen)]
    if isinstance(thing, dict):
        return [[repr(key), _describe(thing[key], seen)] for key in sorted(thing, key=repr)]
    if isinstance(thing, list | tuple):
        return [_describe(part, seen) for part in thing]
    if not isinstance(thing, type | types.FunctionType):
        return repr(thing) if isinstance(thing, int | float | str | None) else type(thing).__name__
    name = f"{thing.__module__}.{thing.__qualname__}"
    if thing.__module__ != "__main__" or name in seen:  # of another module, or told already
        return name
    seen.add(name)
    if isinstance(thing, type):
        members = [member for member in vars(thing).values() if isinstance(member, types.FunctionType)]
        return [name, _describe([*thing.__bases__, *members], seen)]
    source = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    for node in ast.walk(source):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    code, names = [thing.__code__], set()
    for part in code:  # a function's own code, and that of the functions inside it
        names |= set(part.co_names)
        code += [constant for constant in part.co_consts if isinstance(constant, types.CodeType)]
    used = {key: thing.__globals__[key] for key in names if key in thing.__globals__}
    captured = [cell.cell_contents for cell in thing.__closure__ or ()]
    return [name, ast.unparse(source), _describe([used, captured, thing.__defaults__, thing.__kwdefaults__], seen)]


def _fingerprint(thing: object) -> str:
    """16 characters that stand for tensors, or for plain data."""
    digest = hashlib.sha256()
    if isinstance(thing, dict):
        thing = tuple(thing.values())
    if isinstance(thing, tuple):
        for tensor in thing:
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    else:
        digest.update(json.dumps(thing).encode())
    return digest.hexdigest()[:16]


def load_stored(name: str, folder: Path | None = None) -> tuple[dict, dict[str, torch.Tensor]]:
    """What is told of a stored training, and its weights; ValueError for a file that is missing or broken."""
    path = (folder or DATA / "networks") / f"{name}.safetensors"
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            return json.loads(file.metadata()["about"]), {name: file.get_tensor(name).float() for name in names}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        remedy = f"`git checkout {path.parent.name}` gets it back (with Git LFS, `git lfs pull`)"
        reason = "is missing" if not path.exists() else f"is broken ({type(error).__name__}: {error})"
        raise ValueError(
            f"The stored training {path} {reason}. {remedy}; IMAGE_FILL_EFFORT=quick trains instead."
        ) from None


def _take(model: nn.Module, about: dict, must: bool) -> pd.DataFrame | None:
    """The log of the stored training that `about` tells of, its weights put into `model`. Where it is missing or is
    another one, None, or with `must` ValueError.
    """
    try:
        stored, weights = load_stored(about["name"])
        if other := [key for key in about if about[key] != stored[key]]:
            told = f"The stored training {about['name']!r} is another one: its {', '.join(other)} changed."
            raise ValueError(f"{told} IMAGE_FILL_EFFORT=quick or full trains it.")
        if stored["weights"]:
            model.load_state_dict(weights)
    except ValueError as error:
        if must:
            raise
        print(f"{error} It is trained.")
        return None
    if not stored["weights"]:
        model.register_forward_pre_hook(_refuse)
    log = pd.DataFrame(stored["log"])
    epochs, minutes = log.epoch.iloc[-1], log.seconds.iloc[-1] / 60
    told = f"{epochs} epochs in {minutes:.1f} minutes, {stored['machine']}, {stored['data']}"
    print(f"{about['name']}: {'' if stored['weights'] else 'the log '}taken from the stored run ({told}).")
    model.to(DEVICE, memory_format=torch.channels_last).eval()
    return log


def _refuse(model: nn.Module, inputs: tuple) -> None:
    raise RuntimeError("Of this training only the log is stored: set IMAGE_FILL_EFFORT to quick or full to train it.")


def _run_training(
    model: nn.Module,
    loss_fn: Callable,
    photos: Photos,
    cut_holes: Callable,
    epochs: int,
    rate: float,
    batch_size: int,
    weight_decay: float,
    seed: int,
) -> tuple[pd.DataFrame, bool]:
    """The log, and whether the training was done to its end. The optimiser is AdamW (Loshchilov & Hutter 2019)."""
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}; it must be at least 1.")
    epochs, batch_size = max(1, round(epochs * EFFORTS[get_effort()][0])), min(batch_size, len(photos.train))
    steps = len(photos.train) // batch_size  # of one epoch
    total, log, best, started = epochs * steps, [], {}, time.time()
    generator = torch.Generator(DEVICE).manual_seed(seed)
    model.to(DEVICE, memory_format=torch.channels_last)
    images, losses = photos.train.to(DEVICE), torch.full((steps,), torch.nan, device=DEVICE)
    held_out = photos.validation.to(DEVICE) / 255
    held_out_masks = cut_holes(len(held_out), torch.Generator("cpu").manual_seed(2026)).to(DEVICE)
    autocast = torch.autocast(DEVICE.type, torch.bfloat16, enabled=get_precision(DEVICE) == torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=weight_decay, fused=DEVICE.type != "mps")
    schedule = torch.optim.lr_scheduler.LambdaLR(  # up for a twentieth of the steps, then down to 0
        optimizer, lambda step: min(20 * (step + 1) / total, (total - step) / (0.95 * total), 1)
    )
    status = display.display({"text/plain": ""}, raw=True, display_id=True) if get_ipython() else None

    def validate(epoch: int) -> None:
        model.eval()
        torch.manual_seed(2026)  # the same noise each time; every epoch has a seed of its own, so this changes none
        with torch.inference_mode(), autocast:
            loss, figures = loss_fn(model, held_out, held_out_masks, 1.0)
        model.train()
        row = {name: float(x) for name, x in ({"training": losses.mean(), "validation": loss} | figures).items()}
        if not np.isfinite(row["validation"]):
            raise FloatingPointError(f"The validation loss is no longer finite at epoch {epoch}: lower the rate.")
        if all(row["validation"] < earlier["validation"] for earlier in log):
            best.update({name: tensor.clone() for name, tensor in model.state_dict().items()})
        log.append({"epoch": epoch, "seconds": time.time() - started, **row})
        shown = ", ".join(f"{name} {figure:.4g}" for name, figure in row.items() if figure == figure)
        print(f"epoch {epoch:3} of {epochs}, {log[-1]['seconds']:4.0f} s: {shown}", flush=True)

    finished = False
    try:
        best.update({name: tensor.clone() for name, tensor in model.state_dict().items()})
        validate(0)
        for epoch in range(1, epochs + 1):
            torch.manual_seed(1000 * seed + epoch)
            order = torch.randperm(len(images), generator=generator, device=DEVICE)
            for step, chosen in enumerate(order[: steps * batch_size].view(steps, batch_size)):
                batch = images[chosen] / 255
                flip = torch.rand(batch_size, 1, 1, 1, generator=generator, device=DEVICE) < 0.5
                batch = torch.where(flip, batch.flip(3), batch)
                with autocast:
                    progress = (epoch - 1 + step / steps) / epochs
                    loss, _ = loss_fn(model, batch, cut_holes(batch_size, generator), progress)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                losses[step] = loss.detach()  # kept on the device: reading it here would wait for the device
                if status and step % 20 == 0:
                    status.update({"text/plain": f"epoch {epoch} of {epochs}, {step / steps:4.0%}"}, raw=True)
            if not losses.isfinite().all():
                step = (epoch - 1) * steps + int((~losses.isfinite()).nonzero()[0]) + 1
                raise FloatingPointError(f"The loss is no longer finite at step {step}: lower the rate.")
            if epoch % max(1, epochs // 8) == 0 or epoch == epochs:
                validate(epoch)
        finished = True
    except KeyboardInterrupt:
        print("Stopped by hand: the best state so far is kept, and the cells below can be run.")
    finally:
        model.load_state_dict(best)
        model.eval()
    return pd.DataFrame(log), finished


# -------------------------------------------------------------------------------------------------------------- metrics
def score_images(filled: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> pd.DataFrame:
    """One row an image, over hole pixels and 3 channels, of composites and the `uint8` images that they fill: mse, mae,
    ssim (scikit-image's map), gradient and true_gradient (mean absolute), mae_4x4 (of block means, in 12x12 holes).
    """
    truth, hole, every = images / 255, 1 - masks, (1, 2, 3)
    error, planes = filled - truth, [x.flatten(0, 1).numpy() for x in (truth, filled)]
    ssim = skimage.metrics.structural_similarity(*planes, channel_axis=0, data_range=1, full=True)[1]
    maps = {"mse": error.square(), "mae": error.abs(), "ssim": torch.from_numpy(ssim).view_as(truth)}
    scores = {name: (values * hole).sum(every) / (3 * hole.sum(every)) for name, values in maps.items()}
    right, down = hole[..., 1:] * hole[..., :-1], hole[..., 1:, :] * hole[..., :-1, :]  # neighbours, both hidden
    for name, x in (("gradient", filled), ("true_gradient", truth)):
        total = (x.diff(dim=3).abs() * right).sum(every) + (x.diff(dim=2).abs() * down).sum(every)
        scores[name] = total / (3 * right.sum(every) + 3 * down.sum(every))
    if (hole.sum(every) == 12 * 12).all():
        scores["mae_4x4"] = F.avg_pool2d(cut_windows(error, masks, 12), 4).abs().mean(every)
    return pd.DataFrame(scores)


def psnr(mse: np.ndarray, axis: int = -1) -> np.ndarray:
    """Pooled PSNR in dB of images' mean squared errors."""
    return -10 * np.log10(np.mean(np.asarray(mse), axis=axis))


def interval(statistic: Callable, *samples: np.ndarray) -> tuple[float, float]:
    """95 % percentile bootstrap interval of `statistic(*samples, axis)`, 10,000 resamples of the images, paired."""
    options = {"n_resamples": 10_000, "batch": 1000, "paired": True, "method": "percentile", "rng": 0}
    return tuple(map(float, scipy.stats.bootstrap(samples, statistic, **options).confidence_interval))


def summarise(scores: pd.DataFrame) -> dict[str, float]:
    """The figures of `results.csv` for a model that gives one answer, whose CRPS is its MAE."""
    low_high = interval(psnr, scores.mse) + interval(np.mean, scores.mae)
    figures = dict(zip(("psnr_low", "psnr_high", "crps_low", "crps_high"), low_high, strict=True))
    figures |= {"psnr": psnr(scores.mse), "mae": scores.mae.mean(), "ssim": scores.ssim.mean()}
    figures |= {"sharpness": scores.gradient.mean() / scores.true_gradient.mean(), "crps": scores.mae.mean()}
    return figures | ({"crps_4x4": scores.mae_4x4.mean()} if "mae_4x4" in scores else {})


def error_by_distance(filled: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> pd.Series:
    """Mean absolute error by a hidden pixel's distance to the nearest known pixel, in pixels, rounded."""
    hole = (masks[:, 0] == 0).numpy()
    distance = scipy.ndimage.distance_transform_edt(hole, sampling=(1e4, 1, 1))[hole]  # images lie 10,000 pixels apart
    error = pd.Series((filled - images / 255).abs().mean(dim=1).numpy()[hole])
    return error.groupby(distance.round().astype(int)).mean()


# -------------------------------------------------------------------------------------------------------------- results
COLUMNS = ["notebook", "model", "trained_on", "hole", "dataset", "effort", "seed", "parameters", "epochs", "seconds"]
COLUMNS += ["device", "psnr", "psnr_low", "psnr_high", "mae", "ssim", "sharpness", "crps", "crps_low", "crps_high"]
COLUMNS += ["crps_4x4", "loglik", "diversity", "psnr_mean", "psnr_best", "coverage"]


def keep(notebook: str, photos: Photos, rows: list[dict], **arrays: np.ndarray) -> None:
    """Put `rows` into results.csv, in place of equal models', and keep `arrays` for later notebooks."""
    path = OUTPUT / "data" / "results.csv"
    with FileLock(path.with_suffix(".lock")):  # two notebooks may end at the same moment; it makes the folder as well
        tables = [pd.read_csv(path)] if path.exists() else []
        table = pd.concat([*tables, pd.DataFrame(rows).replace("", None)]).reindex(columns=COLUMNS).convert_dtypes()
        table = table.drop_duplicates(["notebook", "model", "trained_on", "hole", "seed"], keep="last")
        _write_whole(path, lambda temporary: table.to_csv(temporary, index=False, float_format="%.7g"))
    arrays |= {"made_with": [photos.name, get_effort()], "machine": get_machine()}
    _write_whole(path.with_name(f"{notebook}.npz"), lambda temporary: np.savez_compressed(temporary, **arrays))


def recall(notebook: str, photos: Photos) -> dict[str, np.ndarray] | None:
    """What an earlier notebook kept; None, and a line that says why, where it has not run on this data and effort."""
    path = OUTPUT / "data" / f"{notebook}.npz"
    kept = dict(np.load(path)) if path.exists() else {"made_with": np.array([])}
    if kept["made_with"].tolist() == [photos.name, get_effort()]:
        return kept
    print(f"{notebook} is left out: it has not been run on {photos.name} at {get_effort()} effort.")
    return None


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make the file beside its place, then rename it: a run that is killed leaves no half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{os.getpid()}-{path.name}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------------------- pictures
def show(figure: plt.Figure, alt: str, save_as: str | None = None) -> None:
    """Show a figure, in few colours to keep notebooks below 1 MB; `alt` describes it, `save_as` names README's copy."""
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB").quantize(256, kmeans=1, dither=0)
    plt.close(figure)
    display.display(picture, metadata={"image/png": {"alt": " ".join(alt.split())}})
    if save_as:
        _write_whole(OUTPUT / "readme_image" / save_as, picture.save)


def show_grid(rows: dict[str, torch.Tensor], title: str, save_as: str | None = None) -> None:
    """Draw the images `(N, 3, H, W)` in [0, 1] of each name in a row, with the name at its left."""
    count = len(next(iter(rows.values())))
    figure, axes = plt.subplots(len(rows), 1, figsize=(count + 1.4, 1.07 * len(rows) + 0.5), squeeze=False)
    for axis, (name, row) in zip(axes[:, 0], rows.items(), strict=True):
        axis.imshow(skimage.util.montage(row.numpy(), [1] * 3, grid_shape=(1, count), padding_width=1, channel_axis=1))
        axis.set_ylabel(textwrap.fill(name, 14), rotation=0, ha="right", va="center", fontsize=9)
        axis.set(xticks=(), yticks=(), frame_on=False)
    figure.suptitle(title, fontsize=10)
    show(figure, f"{', '.join(title.splitlines())}. {count} columns; rows from the top: {'; '.join(rows)}.", save_as)


# ----------------------------------------------------------------------------------------------------------- playground
def playground(fillers: dict[str, Callable], images: torch.Tensor, samplers: dict[str, Callable] | None = None) -> None:
    """Paint a hole with the mouse into one of the `uint8` images `(N, 3, H, H)`, or into a file, and see it filled.

    `fillers` are such as `fill_images` takes, by name; `samplers` take a generator before the images and the masks, and
    get a button for another sample. Without a kernel, or without anywidget, a still picture stands there instead.
    """
    samplers, start = samplers or {}, {"number": 0, "photo": "", "strokes": [[[[0.5, 0.5]], 12]], "sample": 1}
    with capture_output(stdout=False, stderr=False) as still:
        show_fills(*fill_painted(fillers, images, samplers, start)[:3], "Run the notebook, and paint the hole yourself")
    try:
        from anywidget import AnyWidget
    except ImportError as error:
        print(f"No controls ({error}): run %pip install anywidget in a new cell, restart the kernel, reload the page.")
        return still.show()

    class Page(AnyWidget):
        _esm, asked, shown = ROOT / "playground.js", Dict().tag(sync=True), Dict().tag(sync=True)

        @observe("asked")
        def answer(self, event: dict) -> None:
            fills, image, mask, refused = fill_painted(fillers, images, samplers, self.asked)
            image, known = image / 255, torch.ones_like(mask)
            fills = {name: as_url(x, known, 5) for name, x in (fills | {"photograph": image}).items()} | refused
            about = {"count": len(images), "samples": bool(samplers)}
            self.shown = about | {"photo": as_url(image, mask, 12), "fills": fills}

    page = Page(asked=start)
    (data, about), picture = page._repr_mimebundle_(), still.outputs[0]  # one output: the page, or else the picture
    display.display(data | picture.data, metadata=about | picture.metadata, raw=True)


def fill_painted(fillers: dict, images: torch.Tensor, samplers: dict, asked: dict) -> tuple:
    """The composites by name, the `uint8` image `asked` for, the mask painted, and by name why a hole is left grey."""
    size, generator, fills, refused = images.shape[-1], torch.Generator("cpu"), {}, {}
    image, mask = images[asked["number"], None], torch.ones(1, 1, size, size)
    if asked["photo"]:
        image = read_photo(io.BytesIO(base64.b64decode(asked["photo"])), size)
    for stroke in asked["strokes"]:
        mask = paint(mask, *stroke)
    if mask.all() or not mask.any():
        return {}, image, mask, {"": "Paint a hole." if mask.all() else "Nothing is known any more: clear it."}
    drawn = {f"{name}, sample {asked['sample']}": functools.partial(samplers[name], generator) for name in samplers}
    for name, filler in (fillers | drawn).items():
        generator.manual_seed(asked["sample"])
        try:
            fills[name] = fill_images(filler, image, mask)
        except Exception as error:  # nobody would see what is raised in answer to a page
            fills[name] = composite(torch.tensor(0.5), image / 255, mask)
            refused[name] = textwrap.shorten(str(error), 130)
    return fills, image, mask, refused


def paint(mask: torch.Tensor, stroke: list[list[float]], width: int) -> torch.Tensor:
    """The mask `(1, 1, H, H)`, its hole grown by a stroke through points [x, y], 0 to 1, `width` pixels broad."""
    size = mask.shape[-1]
    points = np.floor(np.array(stroke)[:, ::-1] * size).astype(int).clip(-size, 2 * size - 1)
    if width == 12:  # a stamp instead: one square where the stroke ends, and no other hole
        return square_holes(torch.from_numpy(points[-1:] - 6).clamp(0, size - 12), 12, size)
    hole = np.zeros((3 * size, 3 * size), dtype=bool)  # a stroke may leave the photograph
    for start, end in pairwise([points[0], *points]):
        hole[skimage.draw.line(*(start + size), *(end + size))] = True
    hole = scipy.ndimage.binary_dilation(hole, np.ones((width, width)))[size : 2 * size, size : 2 * size]
    return mask * torch.from_numpy(~hole)


def as_url(image: torch.Tensor, mask: torch.Tensor, scale: int) -> str:
    """A PNG of an image `(1, 3, H, W)`, each pixel a block, the hole hatched within a black and a white line."""
    pixels, hole = (F.interpolate(x, scale_factor=scale)[0].movedim(0, -1).numpy() for x in (image * 255, 1 - mask))
    depth = scipy.ndimage.distance_transform_cdt(hole[..., 0])[..., None]
    hatched = np.where(np.indices(depth.shape).sum(axis=0) % 12 < 3, 110, 160)
    pixels = np.where(depth, np.select([depth > 4, depth > 2], [hatched, 255], 0), pixels.round())
    Image.fromarray(pixels.astype(np.uint8)).save(file := io.BytesIO(), "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
