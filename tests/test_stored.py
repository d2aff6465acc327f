"""Trainings are stored and taken: the same weights and log, never those of another network, loss, epochs or data."""

import functools
import linecache
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import utils
from notebooks import load_definitions

SOURCE = '''
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
    """Another docstring."""
    error = network(utils.network_input(images, masks)).float() - images  # a comment
    return error.square().mean(), {"mae": error.abs().mean()}
'''


def define(source: str = SOURCE) -> SimpleNamespace:
    """What a notebook's cell with this source defines."""
    name = f"cell {hash(source)}"
    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    namespace = {"__name__": "__main__", "nn": nn, "utils": utils}
    exec(compile(source, name, "exec"), namespace)
    return SimpleNamespace(**namespace)


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train the network of a source, or take it, with data/networks below a temporary folder."""
    monkeypatch.setattr(utils, "OUTPUT", tmp_path)
    monkeypatch.setattr(utils, "ROOT", tmp_path)  # as for `make notebooks`: "full" writes what git tracks
    monkeypatch.setattr(utils, "DATA", tmp_path / "data")
    images = torch.randint(0, 256, (24, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    photos = utils.Photos("noise", images[:16], images[16:20], images[20:], "cat")

    def run(
        effort: str,
        source: str = SOURCE,
        photos=photos,
        epochs: int = 2,
        bias: bool = True,
        offset: float = 0,
        **options,
    ):
        monkeypatch.setenv("IMAGE_FILL_EFFORT", effort)
        cell = define(source)
        torch.manual_seed(0)
        network = cell.Network(bias, offset)
        options = {"name": "tiny", "batch_size": 8} | options
        return network, utils.train(network, cell.loss_fn, photos, utils.random_holes, epochs, **options)

    run.photos = photos
    return run


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().cpu() for p in network.parameters()])


def test_a_stored_training_gives_back_its_weights_and_its_log(train, capsys):
    trained, log = train("full")
    capsys.readouterr()
    taken, taken_log = train("stored")
    assert torch.equal(weights(taken), weights(trained))
    assert taken_log.equals(log)
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"tiny: taken from the stored run \(2 epochs in \d+\.\d minutes, .*, noise\)\.", line)


def test_what_is_stored_is_what_is_scored(train):
    trained, _ = train("full")
    assert torch.equal(weights(trained), weights(trained).half().float())


def test_comments_and_docstrings_are_no_other_definition(train):
    trained, _ = train("full")
    source = SOURCE.replace("A docstring.", "Another one.").replace("# a comment", "# yet another")
    assert torch.equal(weights(train("stored", source)[0]), weights(trained))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"source": SOURCE.replace("RATE = 0.1", "RATE = 0.2")}, "definition"),  # what a function that it calls reads
        ({"source": SOURCE.replace("error.square()", "error.abs()")}, "definition"),
        ({"source": SOURCE.replace("padding=1", "padding=1, padding_mode='reflect'")}, "definition"),
        ({"source": SOURCE.replace("* scale(", "* 2 * scale(")}, "definition"),
        ({"source": SOURCE.replace("sign = 1", "sign = -1")}, "definition"),
        ({"bias": False}, "definition"),
        ({"offset": 0.5}, "definition"),  # no layer tells it
        (
            {"source": SOURCE.replace("padding=1, bias=bias)", "padding=1, bias=bias).requires_grad_(False)")},
            "definition",
        ),
        ({"epochs": 3}, "settings"),
        ({"rate": 0.5}, "settings"),
        ({"seed": 1}, "settings"),
    ],
)
def test_another_network_loss_or_length_is_never_taken(train, change, told):
    train("full")
    with pytest.raises(ValueError, match=rf"'tiny' is of another {told}.*IMAGE_FILL_EFFORT=quick or full"):
        train("stored", **change)


def test_a_network_of_another_class_is_never_taken_but_one_of_other_photographs_is(train):
    trained, _ = train("full")
    with pytest.raises(ValueError, match="class \\(now dog, then cat\\)"):
        train("stored", photos=train.photos._replace(class_name="dog"))
    for other in ({"class_name": ""}, {"train": train.photos.train.flip(3)}):
        assert torch.equal(weights(train("stored", photos=train.photos._replace(**other))[0]), weights(trained))


@pytest.mark.parametrize("fault", ["missing", "truncated", "pointer", "empty", "foreign", "other keys"])
def test_a_broken_file_is_named_and_nothing_of_it_is_used(train, tmp_path, fault):
    train("full")
    path = tmp_path / "data" / "networks" / "tiny.safetensors"
    content = path.read_bytes()
    if fault == "missing":
        path.unlink()
    elif fault == "foreign":
        utils.save_file({"weight": torch.zeros(3)}, path)
    elif fault == "other keys":
        about, _ = utils.load_stored("tiny")
        utils.save_file({"weight": torch.zeros(3)}, path, {"about": utils.json.dumps(about)})
    else:
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"
        path.write_bytes({"truncated": content[:-50], "pointer": pointer, "empty": b""}[fault])
    with pytest.raises(ValueError, match=r"tiny") as error:
        train("stored")
    assert "tiny.safetensors" in str(error.value)
    assert "git checkout" in str(error.value)


def test_of_a_short_training_only_the_log_is_stored_and_its_network_refuses(train):
    _, log = train("full", weights=False)
    network, taken = train("stored", weights=False)
    assert taken.equals(log)
    for part in (network, network.layer):
        with pytest.raises(utils.NotStored, match="IMAGE_FILL_EFFORT"):
            part(torch.zeros(1, 4, 32, 32))


def test_a_training_without_a_name_is_done_at_any_effort(train):
    network, log = train("stored", name=None)
    assert log.epoch.iloc[-1] == 2
    assert not torch.equal(weights(network), weights(network).half().float())


def test_make_notebooks_trains_only_what_has_changed(train, capsys):
    for options, trains in (
        ({}, True),
        ({}, False),
        ({"photos": train.photos._replace(train=train.photos.train.flip(3))}, True),
        ({}, True),
        ({"source": SOURCE.replace("# a comment", "")}, False),
        ({"epochs": 3}, True),
    ):
        capsys.readouterr()
        train("full", **options)
        told = capsys.readouterr().out
        assert ("epoch   1 of" in told) is trains
        assert ("taken from the stored run" in told) is not trains
        assert ("It is trained now." in told) is trains


def test_a_readers_own_training_at_full_effort_is_done(train, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(utils, "OUTPUT", tmp_path / "build")
    for _ in range(2):
        train("full")
        assert "epoch   1 of" in capsys.readouterr().out


def test_a_quick_training_is_never_taken_for_the_stored_one_of_make_notebooks(train, capsys):
    train("quick", epochs=10)
    capsys.readouterr()
    train("full", epochs=10)
    assert "epoch   1 of" in capsys.readouterr().out


def test_what_a_validation_draws_changes_no_training(train):
    extra = "    torch.randn(3 if network.training else {})\n    error = network("
    sources = [SOURCE.replace("    error = network(", "    import torch\n" + extra.format(n)) for n in (1, 1000)]
    first, second = (train("full", source, epochs=3)[0] for source in sources)
    assert torch.equal(weights(first), weights(second))


def test_validations_see_the_same_noise(train):
    noisy = SOURCE.replace("return error.square().mean()", "return error.square().mean() * 0 + torch.rand(1).sum()")
    _, log = train("full", noisy.replace("    error =", "    import torch\n    error ="), epochs=3)
    assert log.validation.nunique() == 1
    assert log.training[1:].nunique() == 3


def test_what_was_computed_from_networks_that_are_not_stored_is_recalled(train, capsys):
    x = torch.rand(2, 4, 32, 32)
    trained, _ = train("full", weights=False)
    one = torch.ones(1)
    computed = utils.compute_or_recall("answers", train.photos, lambda: {"z": one, "answer": trained(x).detach()})
    network, _ = train("stored", weights=False)
    recalled = utils.compute_or_recall("answers", train.photos, lambda: {"answer": network(x)})
    assert torch.equal(recalled["answer"], computed["answer"])
    assert list(recalled) == ["z", "answer"], "in the order in which they were computed"
    assert "answers: as the stored run computed it." in capsys.readouterr().out
    other = train.photos._replace(test=train.photos.test.flip(3))
    capsys.readouterr()
    assert utils.compute_or_recall("answers", other, lambda: {"answer": network(x)}) is None
    assert "answers" in capsys.readouterr().out


def test_less_than_one_epoch_is_refused(train):
    with pytest.raises(ValueError, match="epochs is 0"):
        train("full", epochs=0)


def test_the_stored_networks_are_small():
    files = list((utils.DATA / "networks").glob("*.safetensors"))
    assert files
    assert sum(path.stat().st_size for path in files) <= 30e6


def test_every_stored_training_is_of_full_effort_on_one_data_set():
    told = [utils.load_stored(path.stem)[0] for path in (utils.DATA / "networks").glob("*.safetensors")]
    trainings = [about for about in told if "log" in about]
    assert {about["effort"] for about in trainings} == {"full"}
    assert len({about["data"] for about in trainings}) == 1
    few_photographs = ("1_one_hole_each", "1_new_holes")
    assert len({about["images"] for about in trainings if about["name"] not in few_photographs}) == 1
    assert np.isfinite([about["log"]["validation"][-1] for about in trainings]).all()


def test_a_later_training_starts_from_ones_own_run_or_else_from_the_stored_networks(train, tmp_path, monkeypatch):
    trained, _ = train("full")
    shipped = utils.load_start("tiny", train.photos)
    assert torch.equal(shipped["layer.weight"], trained.layer.weight.cpu())
    monkeypatch.setattr(utils, "OUTPUT", tmp_path / "build")
    own, _ = train("full", seed=1)
    assert torch.equal(utils.load_start("tiny", train.photos)["layer.weight"], own.layer.weight.cpu())
    other = train.photos._replace(train=train.photos.train.flip(3))
    assert torch.equal(utils.load_start("tiny", other)["layer.weight"], trained.layer.weight.cpu())
    with pytest.raises(ValueError, match="of the class cat, the photographs are dogs"):
        utils.load_start("tiny", other._replace(class_name="dog"))


def load_network(definitions: SimpleNamespace, make, name: str) -> nn.Module:
    network = make()
    network.load_state_dict(utils.load_stored(name)[1])
    return network.to(utils.DEVICE).eval()


def shown(notebook: str) -> tuple[dict, torch.Tensor, torch.Tensor]:
    """What a stored notebook kept, the photographs that it shows, and their random holes."""
    kept = dict(np.load(utils.ROOT / "data" / f"{notebook}.npz"))
    masks = utils.evaluation_masks("random", int(kept["count"]))[kept["which"]]
    return kept, torch.from_numpy(kept["photographs"]), masks


def assert_comes_back(mse: np.ndarray, kept: dict, key: str) -> None:
    expected = kept[key][kept["which"]] if len(kept[key]) == kept["count"] else kept[key]
    assert utils.psnr(mse) == pytest.approx(utils.psnr(expected), abs=0.01)


def test_notebook_1_gives_its_numbers_back_on_the_photographs_that_it_shows():
    kept, images, masks = shown("1_direct_convolution")
    direct = load_definitions("1_direct_convolution")
    network = load_network(direct, direct.make_network, "1_random")
    filled = utils.fill_images(functools.partial(direct.fill_with, network), images, masks)
    assert_comes_back(utils.score_images(filled, images, masks).mse, kept, "mse_random")


def test_notebook_2_gives_its_numbers_back_on_the_photographs_that_it_shows():
    kept, images, masks = shown("2_autoencoder")
    notebook2 = load_definitions("2_autoencoder")
    makes = {"missing part": notebook2.MissingPart, "whole image": notebook2.WholeImage}
    makes["missing part with rim"] = functools.partial(notebook2.MissingPart, 16)
    best = str(kept["best"])
    network = load_network(notebook2, makes[best], f"2_{best.replace(' ', '_')}")
    fill = notebook2.fill_whole if best == "whole image" else notebook2.fill_part
    filled = utils.fill_images(functools.partial(notebook2.fill_twice, fill, network), images, masks)
    scores = utils.score_images(filled, images, masks)
    assert_comes_back(scores.mse, kept, "mse_random")
    assert scores.mae.mean() == pytest.approx(kept["mae_random"][kept["which"]].mean(), abs=5e-4)


@pytest.mark.parametrize("name", ["missing part", "whole image"])
def test_notebook_3_gives_its_numbers_back_on_the_photographs_that_it_shows(name):
    kept, images, masks = shown("3_cvae")
    notebook3 = load_definitions("3_cvae")
    network = load_network(notebook3, notebook3.CONSTRUCTIONS[name], f"3_{name.replace(' ', '_')}")
    scores = utils.score_samples(notebook3.draw_fills(network, images, masks), images, masks)
    assert_comes_back(scores.mse_mean, kept, f"mse_mean {name}")
    for score in ("crps", "crps_4x4", "energy", "diversity", "coverage"):
        assert scores[score].mean() == pytest.approx(kept[f"{score} {name}"].mean(), abs=1e-3), score
