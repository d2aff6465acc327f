"""Trainings are stored and taken: the same weights and log, never those of another network."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import judge
import runs
import utils
from notebooks import load_definitions

SOURCE = '''
import torch, utils
from torch import nn

RATE = 0.1

def scale(x):
    """A docstring."""
    return RATE * x

class Network(nn.Module):
    sign = 1

    def __init__(self, bias=True, offset=0):
        super().__init__()
        self.offset = offset
        self.layer = nn.Conv2d(4, 3, 3, padding=1, bias=bias)

    def forward(self, x):
        return self.sign * scale(self.layer(x)) + self.offset

def loss_fn(network, images, masks, progress):
    error = network(utils.network_input(images, masks)).float() - images  # a comment
    return error.square().mean(), {"mae": error.abs().mean()}
'''


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train the network of a source, or take it; what is stored lies in a temporary `data/`."""
    monkeypatch.setattr(utils, "OUTPUT", tmp_path)
    monkeypatch.setattr(utils, "DATA", tmp_path / "data")
    shape, generator = (24, 3, 32, 32), torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    photos = utils.Photos("noise", images[:16], images[16:20], images[20:], "cat")

    def run(effort, source=SOURCE, photos=photos, holes=utils.random_holes, epochs=2, **options):
        monkeypatch.setenv("IMAGE_FILL_EFFORT", effort)
        exec(source, namespace := {"__name__": "__main__"})
        torch.manual_seed(0)
        made = {key: options.pop(key) for key in ("bias", "offset") if key in options}
        network = namespace["Network"](**made)
        training = "tiny", network, namespace["loss_fn"], photos, holes, epochs
        log = utils.train(*training, **{"batch_size": 8} | options)
        if effort == "full":  # as publishing does
            folder = tmp_path / "data" / "networks"
            folder.mkdir(parents=True, exist_ok=True)
            for path in utils.run_folder(photos).glob("networks/*"):
                path.replace(folder / path.name)
        return network, log

    run.photos = photos
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


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"source": SOURCE.replace("RATE = 0.1", "RATE = 0.2")}, "network, loss or holes"),
        ({"source": SOURCE.replace("error.square()", "error.abs()")}, "network, loss or holes"),
        (
            {"source": SOURCE.replace("g=1", "g=1, padding_mode='reflect'")},
            "network, loss or holes",
        ),
        ({"source": SOURCE.replace("sign = 1", "sign = -1")}, "network, loss or holes"),
        ({"source": SOURCE.replace("=bias)", "=bias).requires_grad_(False)")}, "network, loss or"),
        ({"bias": False}, "network, loss or holes"),
        ({"offset": 0.5}, "network, loss or holes"),
        ({"holes": utils.center_holes}, "network, loss or holes"),
        ({"epochs": 3}, "settings"),
        ({"rate": 0.5}, "settings"),
        ({"seed": 1}, "settings"),
    ],
)
def test_another_network_loss_or_length_is_never_taken(train, change, told):
    train("full")
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


@pytest.mark.parametrize("fault", ["missing", "cut", "pointer", "empty", "foreign"])
def test_a_damaged_file_is_named(train, tmp_path, fault):
    train("full")
    path = tmp_path / "data" / "networks" / "tiny.safetensors"
    if fault == "foreign":
        save_file({"weight": torch.zeros(3)}, path)
    else:
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"
        path.write_bytes({"cut": path.read_bytes()[:-50], "pointer": pointer}.get(fault, b""))
    if fault == "missing":
        path.unlink()
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


def test_a_later_training_starts_from_ones_own_run_or_the_stored_one(train, monkeypatch):
    trained, _ = train("full")
    assert torch.equal(
        runs.load_start("tiny", train.photos)["layer.weight"], trained.layer.weight.cpu()
    )
    own, _ = train("quick", epochs=30)
    found = runs.load_start("tiny", train.photos)["layer.weight"]
    assert torch.equal(found, own.layer.weight.cpu())
    with pytest.raises(ValueError, match="of the class 'cat': run notebook"):
        runs.load_start("tiny", train.photos._replace(class_name="dog"))


def test_the_probe_leaves_chance_alone_and_threads_do_not_matter():
    definitions = load_definitions("3_cvae")
    network, count = definitions.MissingPart(), torch.get_num_threads()
    found, state = [], torch.get_rng_state()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(utils.probe(network, definitions.cvae_loss, utils.random_holes))
    torch.set_num_threads(count)
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        utils.write_whole(path, fail)
    assert path.read_text() == "old"


# ------------------------------------------------------------------------------- the stored run
FILES = sorted((utils.DATA / "networks").glob("*.safetensors"))


def test_the_stored_trainings_are_of_one_run_and_small():
    told = [about for about in (utils.load(path)[0] for path in FILES) if "log" in about]
    assert {about["effort"] for about in told} <= {"full", "update"}
    assert len({about["data"] for about in told}) == 1
    assert all(np.isfinite(about["probe"]).all() for about in told)
    assert sum(path.stat().st_size for path in FILES) <= 32e6


def load_network(make, name: str) -> torch.nn.Module:
    network = make()
    network.load_state_dict(utils.load(utils.DATA / "networks" / f"{name}.safetensors")[1])
    return network.to(utils.DEVICE).eval()


def shown(notebook: str) -> SimpleNamespace:
    """The photographs that a stored notebook shows, their random holes, and what it kept."""
    kept = dict(np.load(utils.DATA / f"{notebook}.npz"))
    masks = utils.evaluation_masks("random", int(kept["count"]))[kept["which"]]
    images = torch.from_numpy(kept["photographs"])
    return SimpleNamespace(images=images, masks=masks, kept=kept, which=kept["which"])


def test_notebooks_1_and_2_give_their_numbers_back():
    first, second = shown("1_direct_convolution"), shown("2_autoencoder")
    n1, n2 = load_definitions("1_direct_convolution"), load_definitions("2_autoencoder")
    direct = functools.partial(n1.fill_with, load_network(n1.make_network, "1_random"))
    rim = load_network(functools.partial(n2.MissingPart, 16), "2_missing_part_with_rim")
    twice = functools.partial(n2.fill_twice, n2.fill_part, rim)
    for run, filler in ((first, direct), (second, twice)):
        filled = utils.fill_images(filler, run.images, run.masks)
        found = utils.psnr(utils.score_images(filled, run.images, run.masks).mse)
        assert found == pytest.approx(utils.psnr(run.kept["mse_random"][run.which]), abs=0.01)


@pytest.mark.parametrize("name", ["missing part", "whole image"])
def test_notebook_3_gives_its_numbers_back(name):
    run, n3 = shown("3_cvae"), load_definitions("3_cvae")
    network = load_network(n3.CONSTRUCTIONS[name], f"3_{name.replace(' ', '_')}")
    samples = n3.draw_fills(network, run.images, run.masks)
    scores = judge.score_samples(samples, run.images, run.masks)
    for score in ("crps", "crps_4x4", "energy", "diversity", "coverage", "mse_mean"):
        assert scores[score].mean() == pytest.approx(run.kept[f"{score} {name}"].mean(), abs=1e-3)
