"""Loaders against real files and real servers: what arrives is right, or the error says what to do."""

import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

import utils

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture(scope="module")
def archive():
    """A small archive in the format of CIFAR-10, its sums, and the automobiles in it."""
    rng, files, automobiles = np.random.default_rng(0), {}, {True: [], False: []}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels, labels = rng.integers(0, 256, (400, 3072), dtype=np.uint8), rng.integers(0, 10, 400).tolist()
        files[name] = pickle.dumps({"data": pixels, "labels": labels})
        automobiles[name != "test_batch"].append(pixels[np.array(labels) == 1].reshape(-1, 3, 32, 32))
    files["batches.meta"] = pickle.dumps({"label_names": CLASSES})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    train, test = (np.concatenate(automobiles[split]) for split in (True, False))
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    return SimpleNamespace(content=buffer.getvalue(), sums=sums, train=train, test=test)


@pytest.fixture
def server(archive, monkeypatch):
    """A web server with CIFAR-10's archive; `server.fault` says what is wrong with it. The data folder is empty."""
    state = SimpleNamespace(fault=None, requests=0, stop=threading.Event())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            state.requests += 1
            content, half = archive.content, len(archive.content) // 2
            if state.fault == "silent":
                state.stop.wait()
            self.send_response(503 if state.fault == "error" else 200)
            if state.fault == "error page":
                content = b"<html>Please sign in to this network</html>"
            if state.fault == "corrupted":
                content = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if state.fault == "slow":
                for i in range(0, len(content), len(content) // 8):
                    self.wfile.write(content[i : i + len(content) // 8])
                    self.wfile.flush()
                    time.sleep(0.25)
                return
            self.wfile.write(content[:half] if state.fault in ("truncated", "stalled") else content)
            self.wfile.flush()
            if state.fault == "stalled":
                state.stop.wait()

        def log_message(self, *args):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads, web.block_on_close = True, False
    web.handle_error = lambda *_: None  # a client that hangs up is what some tests are about
    threading.Thread(target=web.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # so that another user can look into it, as the test of a read-only folder needs
        monkeypatch.setattr(utils, "DATA", Path(folder) / "data")
        monkeypatch.setattr(utils, "PATIENCE", 1)
        monkeypatch.setenv("IMAGE_FILL_EFFORT", "full")
        cifar, sums = CIFAR10, archive.sums
        monkeypatch.setattr(cifar, "url", f"http://127.0.0.1:{web.server_port}/{cifar.filename}")
        monkeypatch.setattr(cifar, "tgz_md5", hashlib.md5(archive.content).hexdigest())
        monkeypatch.setattr(cifar, "train_list", [[f"data_batch_{i}", sums[f"data_batch_{i}"]] for i in range(1, 6)])
        monkeypatch.setattr(cifar, "test_list", [["test_batch", sums["test_batch"]]])
        monkeypatch.setattr(cifar, "meta", cifar.meta | {"md5": sums["batches.meta"]})
        yield state
        state.stop.set()
        web.shutdown()
        web.server_close()


def assert_right(photos: utils.Photos, archive: SimpleNamespace) -> None:
    held_out = len(archive.train) // 10
    assert photos.name == "CIFAR-10 automobiles"
    assert np.array_equal(photos.train, archive.train[:-held_out])
    assert np.array_equal(photos.validation, archive.train[-held_out:])
    assert np.array_equal(photos.test, archive.test)


def test_cifar10_is_downloaded_once(server, archive):
    assert_right(utils.load_images("cifar10"), archive)
    assert_right(utils.load_images("cifar10"), archive)
    assert server.requests == 1


def test_an_archive_put_there_by_hand_is_used(server, archive):
    utils.DATA.mkdir()
    (utils.DATA / CIFAR10.filename).write_bytes(archive.content)
    assert_right(utils.load_images("cifar10"), archive)
    assert server.requests == 0


def test_a_class_is_chosen_by_name_and_an_unknown_one_lists_the_ten(server, monkeypatch):
    assert utils.load_images("cifar10", "horse").name == "CIFAR-10 horses"
    for data in ("cifar10", ""):
        monkeypatch.setenv("IMAGE_FILL_DATA", data)
        with pytest.raises(ValueError, match="'cars'.*" + ", ".join(CLASSES)):
            utils.load_images(class_name="cars")


@pytest.mark.parametrize("fault", ["silent", "stalled", "truncated", "corrupted", "error page", "error"])
def test_a_download_that_fails_is_a_clear_error_and_leaves_nothing_to_trust(server, archive, fault):
    server.fault = fault
    with pytest.raises(RuntimeError) as error:
        utils.load_images("cifar10")
    for needed in (CIFAR10.url, str(utils.DATA / CIFAR10.filename), "by hand", "IMAGE_FILL_DATA=photos"):
        assert needed in str(error.value)
    server.fault = None
    assert_right(utils.load_images("cifar10"), archive)


def test_unset_falls_back_to_the_stand_in_with_a_warning(server, monkeypatch):
    monkeypatch.delenv("IMAGE_FILL_DATA", raising=False)
    server.fault = "error page"
    with pytest.warns(UserWarning, match="STAND-IN PHOTOGRAPHS") as warnings:
        photos = utils.load_images()
    assert photos.name == "stand-in photographs"
    text = str(warnings[0].message)
    assert "MD5" in text, "what failed"
    assert CIFAR10.url in text, "where to get it"
    assert str(utils.DATA / CIFAR10.filename) in text, "where to put it"


def test_a_slow_download_that_moves_is_let_finish(server, archive, capfd):
    server.fault = "slow"
    started = time.time()
    assert_right(utils.load_images("cifar10"), archive)
    assert time.time() - started > utils.PATIENCE
    assert "%|" in capfd.readouterr().err, "no progress was shown"


# Loads from the test's server in a process of its own, as a second notebook would.
ANOTHER_NOTEBOOK = """
import pathlib, pickle, sys
from torchvision.datasets import CIFAR10
import utils
utils.DATA, utils.PATIENCE, attributes = pickle.load(open(sys.argv[1], "rb"))
for name, value in attributes.items():
    setattr(CIFAR10, name, value)
pickle.dump(utils.load_images("cifar10"), open(sys.argv[2], "wb"))
"""


def start_another_notebook(folder: Path, name: str) -> tuple[subprocess.Popen, Path]:
    """The process, and the file that it will write what it has loaded to."""
    attributes = {a: getattr(CIFAR10, a) for a in ("url", "tgz_md5", "train_list", "test_list", "meta")}
    (folder / "how").write_bytes(pickle.dumps((utils.DATA, utils.PATIENCE, attributes)))
    command = [sys.executable, "-c", ANOTHER_NOTEBOOK, folder / "how", folder / name]
    return subprocess.Popen(command, cwd=utils.ROOT, stderr=subprocess.DEVNULL), folder / name


def test_a_killed_download_leaves_nothing_to_trust(server, archive, tmp_path):
    server.fault = "slow"
    process, _ = start_another_notebook(tmp_path, "killed")
    while server.requests == 0 and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.5)
    process.kill()
    assert process.wait() != 0
    assert list(utils.DATA.iterdir()), "the download had not begun"
    assert not (utils.DATA / CIFAR10.filename).exists()
    server.fault = None
    assert_right(utils.load_images("cifar10"), archive)


def test_two_that_start_at_once_both_get_the_right_pixels(server, archive, tmp_path):
    server.fault = "slow"
    for process, path in [start_another_notebook(tmp_path, name) for name in ("one", "two")]:
        assert process.wait(60) == 0
        assert_right(pickle.loads(path.read_bytes()), archive)
    assert server.requests == 1


@pytest.mark.parametrize("broken", ["data_batch_3", "test_batch", "batches.meta", "automobile.npz"])
def test_a_broken_file_is_never_trusted(server, archive, broken):
    utils.load_images("cifar10")
    path, kept = (utils.DATA / CIFAR10.base_folder / name for name in (broken, "automobile.npz"))
    content = path.read_bytes()
    kept.unlink()
    path.write_bytes(content[: len(content) // 2] + b"spoil" + content[len(content) // 2 + 5 :])
    assert_right(utils.load_images("cifar10"), archive)
    assert server.requests == 1, "the archive was still there"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no user ids")
def test_a_read_only_data_folder_is_a_clear_error_unless_all_is_there(server, archive):
    utils.DATA.mkdir()
    utils.DATA.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:  # root may write everywhere
            os.seteuid(65534)
        with pytest.raises(RuntimeError, match="can be written") as error:
            utils.load_images("cifar10")
        assert "Permission" in str(error.value)
        assert str(utils.DATA) in str(error.value)
    finally:
        os.seteuid(user)
        utils.DATA.chmod(0o755)
    utils.load_images("cifar10")
    utils.DATA.chmod(0o555)
    try:
        if user == 0:
            os.seteuid(65534)
        assert_right(utils.load_images("cifar10"), archive)
    finally:
        os.seteuid(user)
        utils.DATA.chmod(0o755)


def test_no_space_left_is_a_clear_error(server, archive):
    """A limit on the size of files stands for a full disk: both end a write with an OSError."""
    resource = pytest.importorskip("resource", reason="this system cannot limit the size of files")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (100_000, len(archive.content) - 1):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
            with pytest.raises(RuntimeError, match=r"OSError.*400 MB free"):
                utils.load_images("cifar10")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_right(utils.load_images("cifar10"), archive)


def test_the_stand_in_is_reproducible_and_its_test_photographs_are_others(photos):
    assert np.array_equal(photos.train, utils.load_images("photos").train)
    paths = [path for group, _ in utils.STAND_IN.values() for path in group]
    assert len(set(paths)) == len(paths) == 6
    assert all(path.is_file() for path in paths)


def test_the_stand_in_is_lively(photos):
    assert photos.train.dtype == photos.test.dtype == utils.torch.uint8
    spread = photos.train.double().std(dim=(1, 2, 3))
    assert spread.median() > 25, "the crops are flat"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder: two classes, and files that are no images."""
    monkeypatch.setenv("IMAGE_FILL_EFFORT", "full")
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("automobile", "horse"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(12):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{i:02}.png")
            (tmp_path / split / name / "notes.txt").write_text("no image")
            (tmp_path / split / name / "._00.png").write_text("what a Mac leaves behind")
    return tmp_path


def test_a_folder_gives_its_images_in_order_pixel_for_pixel(folder):
    photos = utils.load_images(str(folder), "horse")
    assert photos.name == f"{folder.name}, horse"
    assert [len(split) for split in (photos.train, photos.validation, photos.test)] == [11, 1, 12]
    first = np.asarray(Image.open(folder / "train" / "horse" / "00.png"))
    assert np.array_equal(photos.train[0].permute(1, 2, 0), first)


def test_a_folder_may_have_a_name_for_pictures(folder, monkeypatch):
    monkeypatch.setenv("IMAGE_FILL_DATA", f"My cars (2026)={folder}")
    assert utils.load_images().name == "My cars (2026)"


def test_a_folder_may_be_flat_and_relative_to_the_repository(folder, monkeypatch):
    (folder / "flat").mkdir()
    for split in ("train", "test"):
        (folder / split / "horse").rename(folder / "flat" / split)
    monkeypatch.setattr(utils, "ROOT", folder)
    monkeypatch.chdir("/")
    photos = utils.load_images("flat")
    assert photos.name == "flat"
    assert len(photos.test) == 12


def test_a_folder_without_the_class_lists_what_it_has(folder):
    with pytest.raises(ValueError, match="no class 'dog'; it has automobile, horse"):
        utils.load_images(str(folder), "dog")


def test_a_folder_without_the_layout_says_what_is_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere.*train/<class>/ and test/<class>/"):
        utils.load_images(str(tmp_path / "nowhere"))
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
    with pytest.raises(FileNotFoundError, match="holds 0 images"):
        utils.load_images(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n not really", "truncated"])
def test_a_file_that_is_no_image_is_named(folder, content):
    path = folder / "train" / "automobile" / "05.png"
    path.write_bytes(path.read_bytes()[:200] if content == "truncated" else content)
    with pytest.raises(ValueError, match=r"05\.png cannot be read as an image"):
        utils.load_images(str(folder))


def test_any_size_is_cropped_at_the_centre_and_resized(tmp_path):
    picture = Image.new("RGB", (300, 100), "red")
    picture.paste("blue", (100, 0, 200, 100))
    picture.save(tmp_path / "wide.png")
    shown = utils.read_photo(tmp_path / "wide.png")[0, :, :, 2:-2]
    assert (shown.permute(1, 2, 0).numpy() == (0, 0, 255)).all()
    Image.new("RGB", (7, 9), "lime").save(tmp_path / "tiny.png")
    assert utils.read_photo(tmp_path / "tiny.png", size=64).shape == (1, 3, 64, 64)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I"])
def test_any_mode_becomes_the_colours_it_shows(tmp_path, mode):
    path = tmp_path / ("image.tif" if mode in ("CMYK", "I") else "image.png")
    if mode.startswith("I"):
        dtype = np.uint16 if mode == "I;16" else np.int32
        Image.fromarray(np.full((40, 40), 0x8080, dtype=dtype)).save(path)
        expected = 128
    else:
        grey = Image.new("L", (40, 40), 255 if mode == "1" else 128)
        grey.convert("RGB" if mode == "CMYK" else mode).convert(mode).save(path)
        expected = 255 if mode == "1" else 128
    assert (utils.read_photo(path).int() - expected).abs().max() <= 1


def test_transparency_is_white(tmp_path):
    Image.new("RGBA", (32, 32), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (utils.read_photo(tmp_path / "clear.png") == 255).all()
    palette = Image.new("P", (32, 32), 0)
    palette.putpalette([255, 0, 0] + [0] * 765)
    palette.save(tmp_path / "palette.png", transparency=0)
    assert (utils.read_photo(tmp_path / "palette.png") == 255).all()


def test_exif_rotation_is_undone(tmp_path):
    picture = Image.new("RGB", (32, 32), "white")
    picture.paste("black", (0, 0, 32, 16))  # black above
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    picture.save(tmp_path / "turned.png", exif=exif)
    pixels = utils.read_photo(tmp_path / "turned.png")
    assert (pixels[:, :, :16] == 255).all()
    assert (pixels[:, :, 16:] == 0).all()
