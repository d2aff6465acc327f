import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import utils
from notebooks import PATHS, load_definitions

TITLES = [
    "The machine",
    "Training",
    "Everything but the network",
    "Growth",
    "Evaluation and start",
    "Validation PSNR",
]


def test_the_benchmark_measures_all_that_it_names(tmp_path):
    command = [sys.executable, "tests/benchmark.py", "--smoke"]
    env = os.environ | {"IMAGE_FILL_OUTPUT": str(tmp_path)}
    done = subprocess.run(
        command, cwd=utils.ROOT, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr

    tables = {}
    for part in (
        Path(tmp_path, "benchmark.md")
        .read_text(encoding="utf-8")
        .strip()
        .removeprefix("**")
        .split("\n\n**")
    ):
        title, _, table = part.partition("**\n\n")
        _, _, *rows = [
            line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")
        ] or [0, 0]
        tables[title] = {name: figures for name, *figures in rows}
    assert all(title.startswith(expected) for title, expected in zip(tables, TITLES, strict=True))

    networks = ["direct convolution", "direct convolution, windows in both"]
    networks += ["autoencoder, whole image", "autoencoder, missing part"]
    networks += ["CVAE, whole image", "CVAE, missing part"]
    training = tables["Training"]
    assert list(training) == networks
    for figures in training.values():
        series, plain, ratio = (float(figure.replace(",", "")) for figure in figures[:3])
        assert min(series, plain) > 0
        assert ratio == pytest.approx(series / plain, rel=0.1)
    decibels = [float(figures[0].split()[0]) for figures in list(tables.values())[-1].values()]
    assert len(decibels) == 4
    assert min(decibels) > 0


@pytest.mark.parametrize("size", [32, 64])
def test_every_network_and_its_holes_work_at_both_sizes(size):
    direct, autoencoder, cvae = (load_definitions(path.stem) for path in PATHS)
    images, masks = torch.rand(4, 3, size, size), utils.evaluation_masks("random", 4, size)
    assert (masks == 0).sum(dim=(1, 2, 3)).tolist() == [144] * 4
    losses = [
        (direct.make_network, direct.window_loss),
        (autoencoder.WholeImage, autoencoder.hole_loss),
    ]
    losses += [(autoencoder.MissingPart, autoencoder.part_loss), (cvae.WholeImage, cvae.cvae_loss)]
    for make_network, loss_fn in [*losses, (cvae.MissingPart, cvae.cvae_loss)]:
        network = make_network()
        loss, _ = loss_fn(network, images, masks, 1.0)
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
