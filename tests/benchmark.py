"""How fast the series trains, prepares, scores and starts, beside the limits of the machine: `make benchmark`.

One run measures everything. What is compared takes turns, and the median of the rounds is told. The networks and their
losses are those of the notebooks. The tables are printed and go to `benchmark.md` in the output folder; `--smoke` goes
once through all of it, as small as can be.
"""

import contextlib
import functools
import io
import itertools
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch
import torchvision
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

sys.path.append(str(Path(__file__).resolve().parents[1]))
import utils
from notebooks import load_definitions

SMOKE = "--smoke" in sys.argv
os.environ["IMAGE_FILL_EFFORT"] = "smoke" if SMOKE else "full"
ROUNDS = 1 if SMOKE else 5
MINUTES = (0.01,) if SMOKE else (1, 2, 4, 8)
direct, autoencoder, cvae = (
    load_definitions(n) for n in ("1_direct_convolution", "2_autoencoder", "3_cvae")
)
LARGE = {"batch_size": 32, "weight_decay": 0.3, "rate": 3e-3}
# Of each network: how it is made, its loss, how its notebook trains it, and the loss of the plain loop. That is the
# same but for the direct convolution: the series computes only the window around the hole, a tutorial the whole image.
NETWORKS = {
    "direct convolution": (
        direct.make_network,
        direct.window_loss,
        {"batch_size": 16},
        direct.image_loss,
    ),
    "direct convolution, windows in both": (
        direct.make_network,
        direct.window_loss,
        {"batch_size": 16},
        direct.window_loss,
    ),
    "autoencoder, whole image": (
        autoencoder.WholeImage,
        autoencoder.hole_loss,
        LARGE,
        autoencoder.hole_loss,
    ),
    "autoencoder, missing part": (
        autoencoder.MissingPart,
        autoencoder.part_loss,
        LARGE,
        autoencoder.part_loss,
    ),
    "CVAE, whole image": (
        cvae.WholeImage,
        cvae.cvae_loss,
        LARGE | {"batch_size": 64, "rate": 1.5e-3},
        cvae.cvae_loss,
    ),
    "CVAE, missing part": (
        cvae.MissingPart,
        cvae.cvae_loss,
        LARGE | {"batch_size": 64, "rate": 1.5e-3},
        cvae.cvae_loss,
    ),
}


# ------------------------------------------------------------------------------------------------------- the two loops
def make_photos(n: int, size: int = 32) -> utils.Photos:
    """n training images of random pixels, and 8 of each other split: what is on them does not change the speed."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n + 16, 3, size, size), generator=generator, dtype=torch.uint8)
    return utils.Photos("random pixels", images[16:], images[:8], images[8:16])


def train_quietly(name: str, photos: utils.Photos, epochs: int = 1, size: int = 32) -> pd.DataFrame:
    """The log of `utils.train`, the loop of the series, for a new network of this name."""
    make_network, loss_fn, options, _ = NETWORKS[name]
    cut_holes = functools.partial(utils.random_holes, size=size)
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()):
        return utils.train(make_network(), loss_fn, photos, cut_holes, epochs, **options)


def series_speed(name: str, photos: utils.Photos, size: int = 32) -> float:
    """Images a second in an epoch of the series' loop."""
    seconds = train_quietly(name, photos, size=size).seconds
    batch = min(NETWORKS[name][2]["batch_size"], len(photos.train))
    return len(photos.train) // batch * batch / (seconds.iloc[-1] - seconds.iloc[0])


class OneByOne(Dataset):
    """Each image flipped by chance and given a 12x12 hole of its own, as most tutorials do it."""

    def __init__(self, images: torch.Tensor):
        self.images = images.permute(0, 2, 3, 1).numpy()
        flip = transforms.RandomHorizontalFlip()
        self.transform = transforms.Compose([transforms.ToPILImage(), flip, transforms.ToTensor()])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(self.images[i]), cut_one_hole(*self.images.shape[1:3])


def cut_one_hole(height: int, width: int) -> torch.Tensor:
    """A mask `(1, height, width)` with a 12x12 hole anywhere."""
    mask = torch.ones(1, height, width)
    top, left = (int(torch.randint(0, side - 12 + 1, ())) for side in (height, width))
    mask[:, top : top + 12, left : left + 12] = 0
    return mask


def plain_steps(name: str, photos: utils.Photos) -> Iterator[tuple[torch.nn.Module, int]]:
    """The loop that a tutorial usually has: a loader, float32, Adam as it comes. Yields after each step, forever."""
    torch.manual_seed(0)
    make_network, _, options, loss_fn = NETWORKS[name]
    network = make_network().to(utils.DEVICE)
    optimizer = torch.optim.Adam(network.parameters())
    batch = min(options["batch_size"], len(photos.train))
    loader = DataLoader(OneByOne(photos.train), batch, shuffle=True, drop_last=True)
    while True:
        for images, masks in loader:
            loss, _ = loss_fn(network, images.to(utils.DEVICE), masks.to(utils.DEVICE), 1.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()  # for the running mean that such a loop prints
            yield network, batch


def plain_speed(name: str, photos: utils.Photos) -> float:
    """Images a second in an epoch of the plain loop."""
    batch = min(NETWORKS[name][2]["batch_size"], len(photos.train))
    started = time.perf_counter()
    done = sum(
        n for _, n in itertools.islice(plain_steps(name, photos), len(photos.train) // batch)
    )
    return done / (time.perf_counter() - started)


# ----------------------------------------------------------------------------------------------------------- measuring
def in_turns(measures: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The median of each measure over the rounds; they take turns, so that a busy moment is unfair to none."""
    found = {name: [] for name in measures}
    for _ in range(ROUNDS):
        for name, measure in measures.items():
            found[name].append(measure())
    return {name: statistics.median(values) for name, values in found.items()}


def seconds_of(work: Callable, repeats: int = 1) -> float:
    """Seconds that `work()` takes, the mean of some calls."""
    wait = torch.cuda.synchronize if utils.DEVICE.type == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    wait()
    return (time.perf_counter() - started) / repeats


def product_speed(rows: int, inner: int, columns: int, dtype: torch.dtype | None = None) -> float:
    """Multiply-adds a second of a matrix product, if not told otherwise in the series' precision, in units of 10^9."""
    options = {"device": utils.DEVICE, "dtype": dtype or utils.get_precision(utils.DEVICE)}
    a, b = torch.randn(rows, inner, **options), torch.randn(inner, columns, **options)
    return rows * inner * columns / seconds_of(lambda: a @ b, repeats=10) / 1e9


def multiply_adds(name: str) -> float:
    """Multiply-adds of a training step, forward and backward, for one image, in units of 10^9."""
    make_network, loss_fn, *_ = NETWORKS[name]
    with FlopCounterMode(display=False) as counter:
        loss, _ = loss_fn(
            make_network(), torch.rand(4, 3, 32, 32), utils.evaluation_masks("random", 4), 1.0
        )
        loss.backward()
    return counter.get_total_flops() / 2 / 4 / 1e9


# ----------------------------------------------------------------------------------------------------------- the tables
def measure_training() -> pd.DataFrame:
    """The series' loop, the plain loop and two matrix products in turns, for each network."""
    rows = {}
    for name in NETWORKS:
        photos = make_photos(64 if SMOKE else 20 * NETWORKS[name][2]["batch_size"])
        found = in_turns(
            {
                "series, images/s": functools.partial(series_speed, name, photos),
                "plain loop, images/s": functools.partial(plain_speed, name, photos),
                "square": functools.partial(product_speed, 2048, 2048, 2048),
                # What the second layer of the direct convolution is, written as a matrix product.
                "fitting": functools.partial(product_speed, 16 * 24 * 24, 64 * 5 * 5, 64),
            }
        )
        found["ratio"] = found["series, images/s"] / found["plain loop, images/s"]
        found["10^9 multiply-adds/s"] = multiply_adds(name) * found["series, images/s"]
        for shape in ("square", "fitting"):
            found[f"of the {shape} product's"] = found["10^9 multiply-adds/s"] / found.pop(shape)
        rows[name] = found
    return pd.DataFrame(rows).T


def measure_preparing() -> dict[str, str]:
    """What a training step does beside the network, and holes all at once or one by one."""
    n, batch = 5000, NETWORKS["direct convolution"][2]["batch_size"]
    photos, generator = make_photos(n), torch.Generator(utils.DEVICE).manual_seed(0)
    some, images = make_photos(64 if SMOKE else 640), photos.train.to(utils.DEVICE)

    def prepare() -> torch.Tensor:
        chosen = torch.randperm(batch, generator=generator, device=utils.DEVICE)
        flip = torch.rand(batch, 1, 1, 1, generator=generator, device=utils.DEVICE) < 0.5
        drawn = images[chosen] / 255
        return utils.network_input(
            torch.where(flip, drawn.flip(3), drawn), utils.random_holes(batch, generator)
        )

    found = in_turns(
        {
            "step": lambda: batch / series_speed("direct convolution", some),
            "prepare": lambda: seconds_of(prepare, repeats=50),
            "at once": lambda: seconds_of(lambda: utils.random_holes(n, generator)),
            "one by one": lambda: seconds_of(
                lambda: [utils.random_holes(1, generator) for _ in range(n)]
            ),
            "plainly": lambda: seconds_of(lambda: [cut_one_hole(32, 32) for _ in range(n)]),
        }
    )
    at_once, one_by_one, plain = (found[name] for name in ("at once", "one by one", "plainly"))
    longer = f"one by one takes {one_by_one / at_once:.0f} times as long, the plain loop's {plain / at_once:.0f} times"
    share = found["prepare"] / found["step"]
    return {
        "holes, flips, input and moving them": f"{share:.1%} of a step of the direct convolution",
        "5,000 holes at once": f"{at_once * 1e3:.1f} ms; {longer}",
    }


GROW = """
import sys, threading, psutil
sys.argv += ["--smoke"] * {smoke}
sys.path.append({tests!r})
import benchmark

used = lambda: psutil.Process().memory_info().rss / 2**20
before, photos = used(), benchmark.make_photos({n}, {size})
rest, seen, done = used(), [], threading.Event()
threading.Thread(target=lambda: [seen.append(used()) for _ in iter(lambda: done.wait(0.01), True)]).start()
speed = benchmark.series_speed("autoencoder, whole image", photos, {size})
done.set()
print(1e3 / speed, rest - before, max(seen) - rest)
"""


def measure_growth() -> pd.DataFrame:
    """Time and memory of a training on more and on larger images, each in a process of its own."""
    sizes = [(64, 64)] if SMOKE else [(5000, 32), (50000, 32), (5000, 64)]
    rows = {}
    for n, size in sizes:
        script = GROW.format(smoke=SMOKE, tests=str(utils.ROOT / "tests"), n=n, size=size)
        milliseconds, data, training = map(float, run_python(script))
        rows[f"{n:,} images of {size}x{size}"] = {
            "ms an image": milliseconds,
            "ns a pixel": milliseconds * 1e6 / size**2,
            "uint8 data, MiB": n * 3 * size**2 / 2**20,
            "memory at rest, MiB": data,
            "more in training, MiB": training,
        }
    return pd.DataFrame(rows).T


def run_python(script: str) -> list[str]:
    """The last line that a script prints in a new process, in words."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=utils.ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1].split()


def measure_evaluation() -> dict[str, str]:
    """Scores and baselines for 1,000 images, and for 19 samples of each."""
    n, k = 16 if SMOKE else 1000, 19
    images, masks = make_photos(n).train, utils.evaluation_masks("random", n)
    fills = torch.where(masks[:, None] > 0, images[:, None] / 255, torch.rand(n, k, 3, 32, 32))
    works = {
        "scores of one answer, SSIM among them": lambda: utils.score_images(
            fills[:, 0], images, masks
        ),
        f"scores of {k} samples, those of the first among them": lambda: utils.score_samples(
            fills, images, masks
        ),
        "intervals": lambda: utils.interval(utils.psnr, torch.rand(n).numpy()),
    }
    for name, filler in utils.BASELINES.items():
        works[name] = functools.partial(utils.fill_images, filler, images, masks)
    return {f"{name}, {n:,} images": f"{seconds_of(work):.1f} s" for name, work in works.items()}


START = "import time, torch; a = time.perf_counter(); import utils; utils.load_images(); print(time.perf_counter() - a)"


def measure_start() -> dict[str, str]:
    """Importing `utils` and loading the images, in a new process, when both have been done before."""
    seconds = statistics.median(
        float(run_python(START)[0]) for _ in range(ROUNDS)
    )  # the first round is not the median
    return {
        "importing `utils` and loading the data, beyond the import of torch": f"{seconds:.1f} s"
    }


def measure_quality(training: pd.DataFrame) -> pd.DataFrame:
    """Validation PSNR in dB on random holes after some minutes: trainings planned for that time, and the plain loop."""
    photos = utils.load_images()
    rows = {}
    for name in ("direct convolution", "autoencoder, whole image"):
        rows[f"{name}, series"] = {}
        for minutes in MINUTES:
            epochs = int(60 * minutes * training.loc[name, "series, images/s"] / len(photos.train))
            log = train_quietly(name, photos, max(1, epochs))
            reached = (
                f"{log.psnr[log.validation.idxmin()]:.2f} ({log.seconds.iloc[-1] / 60:.1f} min)"
            )
            rows[f"{name}, series"][f"{minutes} min"] = reached
        rows[f"{name}, plain loop"] = plain_curve(name, photos)
    return pd.DataFrame(rows).T


def plain_curve(name: str, photos: utils.Photos) -> dict[str, str]:
    """Validation PSNR in dB of the plain loop after each of the minutes; validating does not count."""
    images = photos.validation.to(utils.DEVICE) / 255
    masks = utils.random_holes(len(images), torch.Generator("cpu").manual_seed(2026)).to(
        utils.DEVICE
    )
    found, spent, started = {}, 0.0, time.perf_counter()
    for network, _ in plain_steps(name, photos):
        passed = spent + time.perf_counter() - started
        if passed > 60 * MINUTES[len(found)]:
            with torch.inference_mode():
                _, figures = NETWORKS[name][1](network, images, masks, 1.0)
            found[f"{MINUTES[len(found)]} min"] = f"{figures['psnr']:.2f} ({passed / 60:.1f} min)"
            if len(found) == len(MINUTES):
                return found
            spent, started = passed, time.perf_counter()
    raise AssertionError("The plain loop does not end.")


# ------------------------------------------------------------------------------------------------------------- telling
def describe_machine() -> str:
    """Device, processor, threads, versions and precision."""
    name = (
        torch.cuda.get_device_name()
        if utils.DEVICE.type == "cuda"
        else platform.processor() or platform.machine()
    )
    with contextlib.suppress(OSError, IndexError):  # Linux says more than its architecture
        if utils.DEVICE.type == "cpu":
            name = Path("/proc/cpuinfo").read_text().split("model name\t: ")[1].splitlines()[0]
    precision = str(utils.get_precision(utils.DEVICE)).removeprefix("torch.")
    limits = [
        f"{product_speed(n, n, n):,.0f} with {n} x {n}"
        for n in ((256,) if SMOKE else (1024, 2048, 4096))
    ]
    limits.append(
        f"{product_speed(n := 256 if SMOKE else 2048, n, n, torch.float32):,.0f} in float32"
    )
    return (
        f"{name}, {torch.get_num_threads()} threads, {utils.DEVICE.type} in {precision}; {platform.system()}, Python "
        f"{platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}. Its matrix "
        f"products, 10^9 multiply-adds/s: {', '.join(limits)}."
    )


def tell_number(x: float | str, share: bool) -> str:
    """A number with as many digits as it needs, a share in percent."""
    if isinstance(x, str):
        return x
    return (
        f"{x:.0%}" if share else f"{x:,.0f}" if x >= 100 else f"{x:.1f}" if x >= 1 else f"{x:.2g}"
    )


def as_markdown(table: pd.DataFrame | dict[str, str]) -> str:
    """A Markdown table; the columns whose names begin with `of` are shares."""
    if isinstance(table, dict):
        table = pd.DataFrame({"": table})
    lines = [["", *table.columns], ["---"] * (1 + len(table.columns))]
    for name, figures in table.iterrows():
        lines.append(
            [name, *(tell_number(x, column.startswith("of ")) for column, x in figures.items())]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure, print and write."""
    path, parts = utils.OUTPUT / "benchmark.md", []

    def tell(title: str, table: str) -> None:
        parts.append(f"**{title}**\n\n{table}\n")
        print(parts[-1], flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(parts), encoding="utf-8")

    tell("The machine", describe_machine())
    training = measure_training()
    tell("Training", as_markdown(training))
    tell("Everything but the network", as_markdown(measure_preparing()))
    tell("Growth, autoencoder, whole image", as_markdown(measure_growth()))
    tell("Evaluation and start", as_markdown(measure_evaluation() | measure_start()))
    tell(
        "Validation PSNR in dB on random holes after so many minutes",
        as_markdown(measure_quality(training)),
    )
    print(f"Written to {path}.")


if __name__ == "__main__":
    main()
