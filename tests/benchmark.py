"""How fast the series trains, beside a plain loop and a matrix product: `make benchmark` prints a table and writes it
to build/benchmark.md. What is compared takes turns, and medians are told.
"""

import functools
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

sys.path[:0] = [str(Path(__file__).parent.parent / x) for x in ("", "notebooks")]
import utils
from runs import load_definitions

n1, n2, n3 = (load_definitions(x) for x in ("1_direct_convolution", "2_autoencoder", "3_cvae"))
CVAE_LOSS = functools.partial(n3.cvae_loss, score_frequencies=n3.score_frequencies)
# Of each network: how it is made, its loss, the images of a step, and the loss of the plain loop.
NETWORKS = {
    "direct convolution": (n1.make_network, n1.window_loss, 16, n1.hole_loss),
    "direct convolution, windows in both": (n1.make_network, n1.window_loss, 16, n1.window_loss),
    "autoencoder, whole image": (n2.WholeImage, n2.hole_loss, 32, n2.hole_loss),
    "autoencoder, missing part": (n2.MissingPart, n2.part_loss, 32, n2.part_loss),
    "CVAE, whole image": (lambda: n3.CVAE(n3.WholeImage()), CVAE_LOSS, 64, CVAE_LOSS),
    "CVAE, missing part": (lambda: n3.CVAE(n3.MissingPart()), CVAE_LOSS, 64, CVAE_LOSS),
}


def take_turns(rounds: int, *works: Callable[[], object]) -> list[float]:
    """The median seconds of each piece of work over the rounds, after one that does not count."""
    found = [[] for _ in works]
    for _ in range(rounds + 1):
        for work, seconds in zip(works, found, strict=True):
            started = time.perf_counter()
            float(work())  # the device is done when its value is here
            seconds.append(time.perf_counter() - started)
    return [statistics.median(seconds[1:]) for seconds in found]


def train_series(name: str, images: torch.Tensor) -> float:
    """One epoch by the loop of the series; its mean loss."""
    make, loss_fn, batch_size, _ = NETWORKS[name]
    network = make().to(utils.DEVICE, memory_format=torch.channels_last)
    *_, (_, loss) = utils.train_epochs(network, loss_fn, images, utils.random_holes, 1, batch_size=batch_size)
    return loss


def train_plainly(name: str, images: torch.Tensor) -> torch.Tensor:
    """One epoch by the loop that a tutorial usually has: a loader that hands out one image after the other, a hole cut
    into each, float32, Adam as it comes; its last loss.
    """
    make, _, batch_size, loss_fn = NETWORKS[name]
    network, generator = make().to(utils.DEVICE), torch.Generator("cpu")
    optimizer = torch.optim.Adam(network.parameters())
    for (batch,) in DataLoader(TensorDataset(images), batch_size, shuffle=True, drop_last=True):
        masks = torch.cat([utils.random_holes(1, generator) for _ in batch]).to(utils.DEVICE)
        loss, _ = loss_fn(network, batch.to(utils.DEVICE) / 255, masks, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.detach()


def multiply() -> torch.Tensor:
    """A product of two matrices of 2048 x 2048, in the precision of the series."""
    a = torch.ones(2048, 2048, device=utils.DEVICE)
    with utils.autocast():
        return (a @ a)[0, 0]


def measure_training(steps: int, rounds: int) -> Iterator[dict]:
    """Images a second of both loops, and the share of a matrix product's multiply-adds a second."""
    for name, (make, loss_fn, batch_size, _) in NETWORKS.items():
        images = torch.randint(0, 256, (batch_size * steps, 3, 32, 32), dtype=torch.uint8)
        loops = [lambda loop=loop, n=name, x=images: loop(n, x) for loop in (train_series, train_plainly)]
        series, plain, product = take_turns(rounds, *loops, multiply)
        with FlopCounterMode(display=False) as counter:  # of a step of 8 images; two operations a multiply-add
            loss_fn(make(), images[:8] / 255, utils.evaluation_masks("random", 8), 1.0)[0].backward()
        share = counter.get_total_flops() / 2 / 8 * len(images) / series / (2048**3 / product)
        row = {"network": name, "series, images/s": f"{len(images) / series:.0f}"}
        row |= {"plain loop, images/s": f"{len(images) / plain:.0f}", "ratio": f"{plain / series:.1f}"}
        yield row | {"share of a matrix product's speed": f"{share:.0%}"}


def main(steps: int = 40, rounds: int = 3) -> str:
    """Measure all, print it and write it to build/benchmark.md."""
    torch.manual_seed(0)
    machine = f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}"
    told = f"{torch.get_num_threads()} threads, {utils.DEVICE.type}; {machine}"
    table = pd.DataFrame(measure_training(steps, rounds))
    lines = [[*table], ["---"] * len(table.columns), *table.to_numpy().tolist()]
    text = "\n".join([told, "", *(f"| {' | '.join(line)} |" for line in lines), ""])
    print(text, flush=True)
    utils.write_whole(utils.OUTPUT / "benchmark.md", lambda path: path.write_text(text))
    return text


if __name__ == "__main__":
    main()
