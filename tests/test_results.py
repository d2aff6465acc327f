"""What is kept is kept for its images and its effort, and nothing that can be read is lost."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import utils


def some_photos(seed: int = 0, name: str = "vehicles") -> utils.Photos:
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 4, 3, 32, 32), dtype=np.uint8)
    return utils.Photos(name, *torch.from_numpy(pixels))


def row(psnr: float = 15.0, **options) -> dict:
    values = {"notebook": 1, "model": "heat diffusion", "trained_on": "", "hole": "random", "dataset": "vehicles"}
    return values | {"effort": utils.get_effort(), "psnr": psnr, "parameters": 318659} | options


@pytest.fixture
def output(tmp_path, monkeypatch):
    """The folder of a reader's output, and beside it a repository with tracked files; both are empty."""
    monkeypatch.setattr(utils, "ROOT", tmp_path / "repository")
    monkeypatch.setattr(utils, "DATA", tmp_path / "repository" / "data")
    monkeypatch.setattr(utils, "OUTPUT", tmp_path / "build")
    utils.DATA.mkdir(parents=True)
    return tmp_path / "build" / "data"


@pytest.fixture
def make_notebooks(output, monkeypatch):
    """`make notebooks` runs: it writes the tracked files, at full effort."""

    def switch(on: bool, effort: str = "full"):
        monkeypatch.setattr(utils, "OUTPUT", utils.ROOT if on else output.parent)
        monkeypatch.setenv("IMAGE_FILL_EFFORT", effort)

    return switch


def test_one_title_for_two_classes_mixes_nothing(output):
    cars, horses = some_photos(0), some_photos(1)
    utils.keep("1_direct_convolution", cars, [row(15)], mse=np.array([1.0]))
    assert utils.recall("1_direct_convolution", horses) is None
    assert utils.read_results(horses).empty
    utils.keep("1_direct_convolution", horses, [row(16)], mse=np.array([2.0]))
    for photos, psnr, mse in ((cars, 15, 1), (horses, 16, 2)):
        assert utils.recall("1_direct_convolution", photos)["mse"].tolist() == [mse]
        assert utils.read_results(photos).psnr.tolist() == [psnr]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_image_counts(output, split):
    photos = some_photos()
    utils.keep("1_direct_convolution", photos, [])
    other = photos._replace(**{split: getattr(photos, split).flip(0)})
    assert utils.recall("1_direct_convolution", other) is None
    assert utils.recall("1_direct_convolution", photos._replace(name="another title")) is not None


def test_runs_at_two_efforts_lie_apart(output, monkeypatch):
    photos = some_photos()
    for effort in ("quick", "full"):
        monkeypatch.setenv("IMAGE_FILL_EFFORT", effort)
        utils.keep("1_direct_convolution", photos, [row(len(effort))], effort=np.array(effort))
    for effort in ("quick", "full"):
        monkeypatch.setenv("IMAGE_FILL_EFFORT", effort)
        assert utils.recall("1_direct_convolution", photos)["effort"] == effort
        assert utils.read_results(photos).psnr.tolist() == [len(effort)]


def test_a_second_run_replaces_its_own_rows_alone(output):
    photos = some_photos()
    utils.keep("1_direct_convolution", photos, [row(15.5), row(14.5, model="mean colour")])
    utils.keep("1_direct_convolution", photos, [row(16.5)])
    results = utils.read_results(photos)
    assert results.set_index("model").psnr.to_dict() == {"mean colour": 14.5, "heat diffusion": 16.5}
    assert results.psnr.dtype == float, "one can compute with it"


def test_make_notebooks_writes_the_tracked_files_as_ever(output, make_notebooks):
    make_notebooks(True)
    old = pd.DataFrame([row(1), row(2, model="gone"), row(3, notebook=2)])[["notebook", "model", "trained_on", "psnr"]]
    old = old.assign(hole="random", effort="full", dataset="a copy").reindex(columns=utils.COLUMNS[:26])
    old.to_csv(utils.DATA / "results.csv", index=False)
    utils.keep("1_direct_convolution", some_photos(), [row(4), row(5, model="gone", seed=1)])
    table = pd.read_csv(utils.DATA / "results.csv")
    assert list(table.columns) == utils.COLUMNS
    assert utils.COLUMNS[-3:] == ["energy", "critic", "images"]
    assert table.psnr.tolist() == [2, 3, 4, 5], "one row a model and seed, the new ones last"
    assert "318659," in (utils.DATA / "results.csv").read_text()
    names = sorted(path.name for path in utils.DATA.iterdir())
    assert names == ["1_direct_convolution.npz", "results.csv", "results.lock"]


def test_the_repository_as_output_at_another_effort_leaves_the_tracked_arrays(output, make_notebooks):
    make_notebooks(True)
    utils.keep("1_direct_convolution", some_photos(), [row()], mse=np.ones(1))
    before = (utils.DATA / "1_direct_convolution.npz").read_bytes()
    make_notebooks(True, "smoke")
    utils.keep("1_direct_convolution", some_photos(), [row()], mse=np.zeros(1))
    assert (utils.DATA / "1_direct_convolution.npz").read_bytes() == before
    assert utils.recall("1_direct_convolution", some_photos())["mse"] == 0


def test_at_stored_the_stored_run_is_recalled_on_its_images_alone(output, make_notebooks, capsys):
    photos = some_photos()
    make_notebooks(True)
    utils.keep("1_direct_convolution", photos, [row(15), row(14, model="mean colour")], mse=np.ones(1))
    utils.keep("2_autoencoder", photos, [row(17, notebook=2)])
    for effort in ("quick", "full", "smoke"):
        make_notebooks(False, effort)
        assert utils.recall("1_direct_convolution", photos) is None
        assert utils.read_results(photos).empty
    make_notebooks(False, "stored")
    assert utils.recall("1_direct_convolution", photos)["mse"] == 1
    assert utils.recall("1_direct_convolution", some_photos(1)) is None
    assert utils.read_results(some_photos(1)).empty
    assert utils.read_results(photos).psnr.tolist() == [15, 14, 17]
    utils.keep("1_direct_convolution", photos, [row(16)], mse=np.zeros(1))
    assert utils.recall("1_direct_convolution", photos)["mse"] == 0, "one's own comes first"
    assert utils.read_results(photos).psnr.tolist() == [14, 16, 17]


def test_columns_and_rows_of_others_stay(output):
    utils.keep("1_direct_convolution", some_photos(), [row()])
    table = pd.read_csv(output / "results.csv").assign(my_note="checked by hand")
    table.to_csv(output / "results.csv", index=False)
    utils.keep("2_autoencoder", some_photos(1), [row(notebook=2)])
    assert pd.read_csv(output / "results.csv").my_note.tolist()[0] == "checked by hand"


def test_a_fingerprint_of_digits_stays_text(output, monkeypatch):
    for images in ("1234567890123456", "12e4567890123456"):
        monkeypatch.setattr(utils, "_fingerprint", lambda *things, images=images: images)
        for notebook in (1, 2):
            utils.keep(f"{notebook}_of_3", some_photos(), [row(notebook=notebook)])
        assert utils.read_results(some_photos()).images.tolist() == [images] * 2


GOOD = "notebook,model,trained_on,hole,dataset,effort,psnr\n1,heat diffusion,,random,cars,quick,15.5\n"
TABLES = {
    "semicolons": GOOD.replace(",", ";").encode(),
    "a conflict on top": b"<<<<<<< HEAD\n" + GOOD.encode(),
    "a conflict below": GOOD.encode() + b"<<<<<<< HEAD\n1,a,,random,cars,quick,1\n=======\n>>>>>>> mine\n",
    "zeros": b"\0" * 300,
    "zeros at the end": GOOD.encode() + b"\0" * 300,
    "empty": b"",
    "UTF-16": GOOD.encode("utf-16"),
    "Latin-1": GOOD.replace("cars", "Stra\xdfe").encode("latin-1"),
    "another table": b"name,price\na,3\n",
    "a folder": None,
}


def spoil(path, content: bytes | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.mkdir()
        (path / "inside").write_bytes(b"mine")
    else:
        path.write_bytes(content)


def assert_put_aside(path, content: bytes | None) -> None:
    (aside,) = path.parent.glob(f"{path.name}.broken-*")
    assert (aside / "inside").read_bytes() == b"mine" if content is None else aside.read_bytes() == content


@pytest.mark.parametrize("damage", TABLES)
def test_a_broken_table_is_named_before_the_work_and_put_aside(output, damage, capsys):
    spoil(output / "results.csv", TABLES[damage])
    utils.announce("1_direct_convolution")
    printed = capsys.readouterr().out
    assert f"{output / 'results.csv'} is broken" in printed
    assert "results.csv.broken-" in printed
    assert not (output / "results.csv").exists()
    assert_put_aside(output / "results.csv", TABLES[damage])
    utils.announce("1_direct_convolution")
    assert "broken" not in capsys.readouterr().out


@pytest.mark.parametrize("damage", TABLES)
def test_a_table_that_breaks_later_is_not_written_over_and_stops_nothing(output, damage):
    spoil(output / "results.csv", TABLES[damage])
    utils.keep("1_direct_convolution", some_photos(), [row()])
    assert utils.read_results(some_photos()).psnr.tolist() == [15]
    assert_put_aside(output / "results.csv", TABLES[damage])


def test_a_table_of_a_spreadsheet_with_a_mark_and_one_without_rows_are_read(output):
    spoil(output / "results.csv", GOOD.encode("utf-8-sig"))
    utils.keep("1_direct_convolution", some_photos(), [row()])
    assert pd.read_csv(output / "results.csv").dataset.tolist() == ["cars", "vehicles"]
    spoil(output / "results.csv", GOOD.splitlines()[0].encode())
    utils.keep("1_direct_convolution", some_photos(), [row()])
    assert not list(output.glob("*.broken*"))


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
ARRAYS = ["cut", "a pointer", "empty", "foreign", "a folder", "one byte"]


def spoil_arrays(path, damage: str) -> bytes | None:
    """Break the arrays at `path`, and return what lies there now."""
    if damage == "foreign":
        np.savez(path, something=np.ones(3))
        return path.read_bytes()
    content = path.read_bytes()
    path.unlink()
    half = len(content) // 2
    spoiled = {"cut": content[:half], "a pointer": POINTER, "empty": b"", "a folder": None}
    spoiled["one byte"] = content[:half] + bytes([content[half] ^ 255]) + content[half + 1 :]
    spoil(path, spoiled[damage])
    return spoiled[damage]


def keep_arrays(photos: utils.Photos):
    """The file of arrays that were kept."""
    utils.keep("1_direct_convolution", photos, [row()], mse=np.random.default_rng(0).random(5000))
    return utils._find("1_direct_convolution.npz", photos)[0]


@pytest.mark.parametrize("damage", ARRAYS)
def test_broken_arrays_are_named_and_put_aside(output, damage, capsys):
    path = keep_arrays(some_photos())
    content = spoil_arrays(path, damage)
    utils.announce("2_autoencoder")
    assert f"{path} is broken" in capsys.readouterr().out
    assert_put_aside(path, content)
    assert utils.recall("1_direct_convolution", some_photos()) is None
    path = keep_arrays(some_photos())
    assert utils.recall("1_direct_convolution", some_photos()) is not None


@pytest.mark.parametrize("damage", ARRAYS)
def test_arrays_that_break_later_are_left_out_by_name_or_put_aside(output, damage, capsys):
    path = keep_arrays(some_photos())
    content = spoil_arrays(path, damage)
    assert utils.recall("1_direct_convolution", some_photos()) is None
    printed = capsys.readouterr().out
    assert f"{path} is broken" in printed
    assert "1_direct_convolution is left out" in printed
    assert_put_aside(path, content)


@pytest.mark.parametrize("damage", ARRAYS)
def test_a_broken_tracked_file_is_named_and_stays_in_its_place(output, make_notebooks, damage, capsys):
    make_notebooks(True)
    path = keep_arrays(some_photos())
    content = spoil_arrays(path, damage)
    make_notebooks(False, "stored")
    utils.announce("1_direct_convolution")
    assert utils.recall("1_direct_convolution", some_photos()) is None
    printed = capsys.readouterr().out
    assert f"{path} is broken" in printed
    assert "`git checkout data`" in printed
    assert "`git lfs pull`" in printed
    assert content is None or path.read_bytes() == content


@pytest.mark.parametrize("damage", [*ARRAYS, "missing"])
def test_an_estimate_that_cannot_be_read_stops_nothing(output, make_notebooks, damage, capsys):
    make_notebooks(True)
    path = keep_arrays(some_photos())
    path.unlink() if damage == "missing" else spoil_arrays(path, damage)
    make_notebooks(False, "quick")
    capsys.readouterr()
    utils.announce("1_direct_convolution")
    assert capsys.readouterr().out.startswith("Effort 'quick', on ")


def test_the_estimate_is_of_this_effort_and_stored_says_that_nothing_is_trained(output, make_notebooks, capsys):
    make_notebooks(True)
    utils.CLOCK.update(started=time.time() - 7 * 60, training=50.0 * 60, trained=0.0)
    utils.keep("1_direct_convolution", some_photos(), [])
    capsys.readouterr()
    for effort, told in (
        ("full", "about 57"),
        ("quick", "about 12"),
        ("stored", "nothing is trained: about 2 minutes"),
    ):
        make_notebooks(False, effort)
        utils.announce("1_direct_convolution")
        printed = capsys.readouterr().out
        assert told in printed
        assert ("An earlier run" in printed) is (effort != "stored")


def test_what_another_notebook_is_writing_is_left_alone(output):
    spoil(output / "4711-1_direct_convolution.npz", b"half")
    spoil(output / "4711-results.csv", b"half")
    utils.announce("1_direct_convolution")
    assert len(list(output.glob("4711-*"))) == 2
    assert not list(output.glob("*.broken*"))


# --------------------------------------------------------------------------------------------------------------- output
def assert_refused(folder) -> None:
    with pytest.raises(OSError, match="IMAGE_FILL_OUTPUT") as error:
        utils.announce("1_direct_convolution")
    assert str(folder) in str(error.value)


def test_an_output_that_is_a_file_is_refused_in_the_first_cell(output, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setattr(utils, "OUTPUT", place)
        assert_refused(place)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no user ids")
@pytest.mark.parametrize("made", [False, True])
def test_an_output_that_cannot_be_written_is_refused_in_the_first_cell(output, tmp_path, made):
    for folder in (tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)  # so that another user can look into it
    places = [tmp_path]
    if made:  # a checkout that was used, and is read-only now
        utils.announce("1_direct_convolution")
        places = [output, output.parent / "readme_image"]
    user = os.geteuid()
    try:
        for place in places:
            place.chmod(0o555)
        if user == 0:  # root may write everywhere
            os.seteuid(65534)
        assert_refused(utils.OUTPUT)
    finally:
        os.seteuid(user)
        for place in places:
            place.chmod(0o755)
    utils.announce("1_direct_convolution")


@pytest.mark.parametrize(("value", "place"), [("~/fills", "home/fills"), ("./sub/..", "."), (None, "build")])
def test_the_variable_may_begin_with_the_home_folder(tmp_path, value, place):
    env = {name: text for name, text in os.environ.items() if name != "IMAGE_FILL_OUTPUT"}
    env |= {"HOME": str(tmp_path / "home"), "USERPROFILE": str(tmp_path / "home")}
    env |= {"IMAGE_FILL_OUTPUT": value} if value else {}
    command = [sys.executable, "-c", "import utils; print(utils.OUTPUT)"]
    printed = subprocess.run(command, cwd=utils.ROOT, env=env, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(((tmp_path if value == "~/fills" else utils.ROOT) / place).resolve())


def test_an_unknown_effort_is_refused_before_anything_is_written(output, monkeypatch):
    monkeypatch.setenv("IMAGE_FILL_EFFORT", "fast")
    with pytest.raises(ValueError, match="IMAGE_FILL_EFFORT is 'fast'; it can be stored, full, quick, smoke"):
        utils.announce("1_direct_convolution")
    assert not output.exists()


# ------------------------------------------------------------------------------------------------------------- training
@pytest.mark.parametrize("when", [1, 2])
def test_ctrl_c_in_a_validation_keeps_its_promise(photos, monkeypatch, capsys, when):
    """Even in the first one: the log has its columns and a row, and the network a state that was validated."""
    monkeypatch.setenv("IMAGE_FILL_EFFORT", "full")
    model, validations = nn.Conv2d(4, 3, 3, padding=1), []
    before = [p.detach().clone() for p in model.parameters()]

    def interrupted(model, images, masks, progress):
        if not model.training:
            validations.append(1)
            if len(validations) == when:
                signal.raise_signal(signal.SIGINT)
        loss = (model(utils.network_input(images, masks)).float() - images).square().mean()
        return loss, {"psnr": -10 * loss.log10()}

    small = utils.Photos("small", *(split[:16] for split in photos[1:4]))
    log = utils.train(model, interrupted, small, utils.random_holes, 8)
    assert "the best state so far is kept" in capsys.readouterr().out
    assert list(log.columns) == ["epoch", "seconds", "training", "validation", "psnr"]
    assert log.epoch.tolist() == [0]
    assert log.loc[log.validation.idxmin()].psnr > 0
    assert not model.training
    assert all(torch.equal(p.cpu(), q) for p, q in zip(model.parameters(), before, strict=True))


def test_networks_of_two_runs_lie_apart(output, monkeypatch):
    def loss_fn(model, images, masks, progress):
        return (model(utils.network_input(images, masks)).float() - images).square().mean(), {}

    for effort, seed in (("smoke", 0), ("quick", 0), ("smoke", 1)):
        monkeypatch.setenv("IMAGE_FILL_EFFORT", effort)
        model = nn.Conv2d(4, 3, 3, padding=1)
        utils.train(model, loss_fn, some_photos(seed), utils.random_holes, 1, name="net")
        kept = utils.load_stored("net", utils._find("networks/net.safetensors", some_photos(seed))[0])
        assert torch.equal(kept[1]["weight"], model.weight.cpu())
    assert len(list((output / "networks").iterdir())) == 3
