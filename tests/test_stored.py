"""Trainings are stored and taken: the same weights and log, never those of another network."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import runs
import utils
from notebooks import generator
from runs import load_definitions

SOURCE = """
import torch, utils

RATE = 0.1

def scale(x):
    return RATE * x

class Network(torch.nn.Module):
    sign = 1

    def __init__(self, bias=True, offset=0):
        super().__init__()
        self.offset, self.layer = offset, torch.nn.Conv2d(4, 3, 3, padding=1, bias=bias)

    def forward(self, x):
        return self.sign * scale(self.layer(x)) + self.offset

def loss_fn(network, images, masks, progress):
    error = network(utils.network_input(images, masks)).float() - images  # a comment
    return error.square().mean(), {"mae": error.abs().mean()}
"""


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train the network of a source, or take it; what is stored lies in a temporary `data/`."""
    monkeypatch.setattr(utils, "OUTPUT", tmp_path)
    monkeypatch.setattr(utils, "DATA", tmp_path / "data")
    (tmp_path / "data" / "networks").mkdir(parents=True)
    shape, options = (24, 3, 32, 32), {"dtype": torch.uint8, "generator": generator()}
    images = torch.randint(0, 256, shape, **options)
    photos = utils.Photos("noise", images[:16], images[16:20], images[20:], "cat")

    def run(effort, source=SOURCE, photos=photos, holes=utils.random_holes, epochs=2, **options):
        monkeypatch.setenv("IMAGE_FILL_EFFORT", effort)
        exec(source, namespace := {"__name__": "__main__"})
        torch.manual_seed(0)
        made = {key: options.pop(key) for key in ("bias", "offset") if key in options}
        network = namespace["Network"](**made)
        training = "tiny", network, namespace["loss_fn"], photos, holes, epochs
        log = utils.train(*training, **{"batch_size": 8} | options)
        for path in tmp_path.glob("full_*/networks/*"):  # as publishing does
            path.replace(tmp_path / "data" / "networks" / path.name)
        return network, log

    run.photos, run.path = photos, tmp_path / "data" / "networks" / "tiny.safetensors"
    return run


def weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().cpu() for p in network.parameters()])


def test_a_stored_training_gives_back_its_weights_and_log_in_half_precision(train, capsys):
    trained, log = train("full")
    assert torch.equal(weights(trained), weights(trained).half().float()), "as it is scored"
    renamed = SOURCE.replace("error", "miss").replace("A docstring", "Another").replace("# a", "#")
    for source in (SOURCE, renamed):
        taken, taken_log = train("stored", source)
        assert torch.equal(weights(taken), weights(trained))
        assert taken_log.equals(log)
        assert "tiny: taken from the stored run (2 epochs in" in capsys.readouterr().out


EDITS = ["RATE = 0.1", "RATE = 0.2"], ["error.square()", "error.abs()"], ["sign = 1", "sign = -1"]
EDITS += ["g=1", "g=1, padding_mode='reflect'"], ["=bias)", "=bias).requires_grad_(False)"]


@pytest.mark.parametrize(
    "change",
    [
        *({"source": SOURCE.replace(*edit)} for edit in EDITS),
        *({"bias": False}, {"offset": 0.5}, {"holes": utils.center_holes}),
        *({"epochs": 3}, {"rate": 0.5}, {"seed": 1}),
    ],
)
def test_another_network_loss_or_length_is_never_taken(train, change):
    train("full")
    told = "settings" if {"epochs", "rate", "seed"} & set(change) else "network, loss or holes"
    with pytest.raises(ValueError, match=f"'tiny' was stored with another {told}.*quick or full"):
        train("stored", **change)


def test_at_update_what_fits_is_taken_and_the_rest_trained(train, capsys):
    train("full")
    other = train.photos._replace(train=train.photos.train.flip(3))
    for options, trains in (({}, False), ({"epochs": 3}, True), ({"photos": other}, True)):
        capsys.readouterr()
        train("update", **options)
        assert ("It is trained now." in capsys.readouterr().out) is trains


def test_cars_are_not_taken_for_another_class_but_other_photographs_may_be_of_any(train):
    trained, _ = train("full")
    with pytest.raises(ValueError, match="another class: now dog, then cat"):
        train("stored", photos=train.photos._replace(class_name="dog"))
    other = train.photos._replace(train=train.photos.train.flip(3), class_name="")
    assert torch.equal(weights(train("stored", photos=other)[0]), weights(trained))


@pytest.mark.parametrize("content", [None, b"", b"version https://git-lfs.github.com/spec/v1"])
def test_a_damaged_file_is_named(train, content):
    train("full")
    train.path.unlink() if content is None else train.path.write_bytes(content)
    with pytest.raises(ValueError, match=r"tiny\.safetensors is missing or damaged.*git checkout"):
        train("stored")


def test_with_the_log_alone_a_network_refuses_and_what_it_computed_is_recalled(train, capsys):
    x, one = torch.rand(2, 4, 32, 32), torch.ones(1)
    trained, _ = train("full", weights=False)
    computed = {"z": one, "answer": trained(x).detach()}
    assert runs.compute_or_recall("answers", train.photos, lambda: computed) is computed
    (path,) = utils.OUTPUT.rglob("answers.safetensors")
    path.rename(utils.DATA / "networks" / path.name)
    network, _ = train("stored", weights=False)
    with pytest.raises(utils.NotStored, match="IMAGE_FILL_EFFORT"):
        network.layer(x)
    ask = functools.partial(runs.compute_or_recall, "answers", compute=lambda: {"a": network(x)})
    recalled = ask(train.photos)
    assert torch.equal(recalled["answer"], computed["answer"])
    assert list(recalled) == ["z", "answer"], "in the order in which they were computed"
    assert ask(train.photos._replace(test=train.photos.test.flip(3))) is None
    assert "answers is left out" in capsys.readouterr().out


def test_a_later_training_starts_from_ones_own_run_or_the_stored_one(train):
    for effort, epochs in (("full", 2), ("quick", 30)):
        network, _ = train(effort, epochs=epochs)
        start = runs.load_start("tiny", train.photos)
        assert torch.equal(start["layer.weight"], network.layer.weight.cpu())
    with pytest.raises(ValueError, match="of the class 'cat': run notebook"):
        runs.load_start("tiny", train.photos._replace(class_name="dog"))


# ------------------------------------------------------------------------------- the stored run
FILES = sorted((utils.DATA / "networks").glob("*.safetensors"))


def test_the_stored_trainings_are_of_one_run_and_small():
    told = [about for about in (utils.load(path)[0] for path in FILES) if "log" in about]
    assert {about["effort"] for about in told} <= {"full", "update"}
    assert len({about["data"] for about in told}) == 1
    assert sum(path.stat().st_size for path in FILES) <= 32e6


def shown(notebook: str, make, name: str) -> SimpleNamespace:
    """The photographs that a stored notebook shows, their random holes, what it kept, and a network of it."""
    kept, network = dict(np.load(utils.DATA / f"{notebook}.npz")), make()
    network.load_state_dict(utils.load(utils.DATA / "networks" / f"{name}.safetensors")[1])
    masks, images = utils.evaluation_masks("random", int(kept["count"])), torch.from_numpy(kept["photographs"])
    about = {"kept": kept, "network": network.to(utils.DEVICE).eval(), "which": kept["which"]}
    return SimpleNamespace(images=images, masks=masks[kept["which"]], **about)


def test_notebooks_1_and_2_give_their_numbers_back():
    n1, n2 = load_definitions("1_direct_convolution"), load_definitions("2_autoencoder")
    direct = shown("1_direct_convolution", n1.make_network, "1_random")
    rim = shown("2_autoencoder", lambda: n2.MissingPart(16), "2_missing_part_with_rim")
    for run, notebook, fill in ((direct, n1, n1.fill_with), (rim, n2, n2.fill_part)):
        twice = functools.partial(notebook.fill_twice, functools.partial(fill, run.network))
        filled = utils.fill_images(twice, run.images, run.masks)
        found = utils.psnr(utils.score_images(filled, run.images, run.masks).mse)
        assert found == pytest.approx(utils.psnr(run.kept["mse_random"][run.which]), abs=0.01)


@pytest.mark.parametrize(("name", "halves"), [("missing part", "MissingPart"), ("whole image", "WholeImage")])
def test_notebook_3_gives_its_samples_back(name, halves):
    n3 = load_definitions("3_cvae")
    run = shown("3_cvae", lambda: n3.CVAE(getattr(n3, halves)()), f"3_{name.replace(' ', '_')}")
    samples = n3.draw_fills(run.network, run.images, run.masks, 2).numpy()
    off = np.abs(samples - run.kept[f"CVAE, {name}"] / 255).mean()
    assert off < 1e-3 < np.abs(samples[:, 0] - samples[:, 1]).mean() / 5
