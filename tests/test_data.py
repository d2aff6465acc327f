"""Loaders against real files and real servers: what arrives is right, or the error says what to do."""

import hashlib
import io
import os
import pickle
import shutil
import struct
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
from filelock import FileLock
from PIL import EpsImagePlugin, Image, features

import utils

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def pickle_as_python_2(pixels: np.ndarray, labels: list[int]) -> bytes:
    """A batch as CIFAR-10 has it: pickled by Python 2, its array by a NumPy of that time."""

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value

    def numbers(*values: int) -> bytes:
        return b"".join(b"J" + struct.pack("<i", value) for value in values)

    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + numbers(0) + b"\x85" + text(b"b") + b"tR"
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + numbers(0, 1) + b"\x87R(" + numbers(3) + text(b"|") + b"NNN"
    dtype += numbers(-1, -1, 0) + b"tb"
    array += b"(" + numbers(1, *pixels.shape) + b"\x86" + dtype + b"\x89" + text(pixels.tobytes()) + b"tb"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + b"](" + numbers(*labels) + b"eu."


@pytest.fixture(scope="module")
def archive():
    """A small archive in the format of CIFAR-10, its files in another order, and the automobiles in it."""
    rng, files, automobiles = np.random.default_rng(0), {}, {True: [], False: []}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels, labels = rng.integers(0, 256, (400, 3072), dtype=np.uint8), rng.integers(0, 10, 400).tolist()
        files[name] = pickle_as_python_2(pixels, labels)
        automobiles[name != "test_batch"].append(pixels[np.array(labels) == 1].reshape(-1, 3, 32, 32))
    files |= {"batches.meta": b"not needed", "readme.html": b"nor this"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        folder = tarfile.TarInfo("cifar-10-batches-py")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in reversed(files.items()):
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    train, test = (np.concatenate(automobiles[split]) for split in (True, False))
    return SimpleNamespace(content=buffer.getvalue(), train=train, test=test)


@pytest.fixture
def server(archive, monkeypatch):
    """A web server with CIFAR-10's archive in two places; `server.faults` says what is wrong. The data folder is empty.

    `server.asked` lists what was asked for: the place, and the byte from which on.
    """
    state = SimpleNamespace(faults={"mirror": None, "home": None}, asked=[], stop=threading.Event())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            place, start = self.path.split("/")[1], int(self.headers.get("Range", "bytes=0-")[6:-1])
            fault, content = state.faults[place], archive.content
            state.asked.append((place, start))
            if fault == "silent":
                state.stop.wait()
            if fault == "corrupted":
                content = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
            if fault == "error page":
                content = b"<html>Please sign in to this network</html>"
            if fault in ("error", "error page", "no ranges"):
                self.send_response(503 if fault == "error" else 200)
            else:
                self.send_response(206)
                content = content[start:]
            if fault != "endless":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            step = {"slow": len(content) // 8, "trickling": 100}.get(fault, len(content) + 1)
            half = len(content) // 2
            content = content[:half] if fault in ("truncated", "stalled") else content
            while not state.stop.is_set():
                for i in range(0, len(content), step):
                    self.wfile.write(content[i : i + step])
                    self.wfile.flush()
                    time.sleep(0.2 if fault in ("slow", "trickling") else 0)
                if fault == "stalled":
                    state.stop.wait()
                if fault != "endless":
                    break

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
        sources = [f"http://127.0.0.1:{web.server_port}/{place}/" for place in state.faults]
        monkeypatch.setattr(utils, "SOURCES", sources)
        monkeypatch.setattr(utils, "CIFAR10_SIZE", len(archive.content))
        monkeypatch.setattr(utils, "CIFAR10_MD5", hashlib.md5(archive.content).hexdigest())
        yield state
        state.stop.set()
        web.shutdown()
        web.server_close()


def spoil(server: SimpleNamespace, fault: str | None) -> None:
    """Both places have this fault."""
    server.faults = dict.fromkeys(server.faults, fault)


def assert_right(photos: utils.Photos, archive: SimpleNamespace) -> None:
    held_out = len(archive.train) // 10
    assert (photos.name, photos.class_name) == ("CIFAR-10 automobiles", "automobile")
    assert photos[1:4] == (photos.train, photos.validation, photos.test)
    assert np.array_equal(photos.train, archive.train[:-held_out])
    assert np.array_equal(photos.validation, archive.train[-held_out:])
    assert np.array_equal(photos.test, archive.test)


def test_cifar10_is_downloaded_once(server, archive):
    assert_right(utils.load_images("cifar10"), archive)
    assert_right(utils.load_images("cifar10"), archive)
    assert server.asked == [("mirror", 0)]
    assert {path.name for path in utils.DATA.iterdir()} <= {utils.CIFAR10, "cifar-10.lock"}


def test_where_the_copy_fails_cifar10_comes_from_its_home(server, archive):
    server.faults["mirror"] = "error"
    assert_right(utils.load_images("cifar10"), archive)
    assert server.asked == [("mirror", 0), ("home", 0)]


def test_where_and_what_cifar10_is():
    assert all(source.startswith("https://") and source.endswith("/") for source in utils.SOURCES)
    assert utils.CIFAR10_MD5 == "c58f30108f718f92721af3b95e74349a", "that of its page"


def test_an_archive_put_there_by_hand_is_used(server, archive):
    utils.DATA.mkdir()
    (utils.DATA / utils.CIFAR10).write_bytes(archive.content)
    assert_right(utils.load_images("cifar10"), archive)
    assert server.asked == []


def test_an_archive_put_there_by_hand_that_is_damaged_is_told_and_set_aside(server, archive, capsys):
    utils.DATA.mkdir()
    path = utils.DATA / utils.CIFAR10
    path.write_bytes(archive.content[:5000])
    assert_right(utils.load_images("cifar10"), archive)
    assert f"{path} is damaged" in capsys.readouterr().out
    assert Path(f"{path}.damaged").read_bytes() == archive.content[:5000]
    assert path.read_bytes() == archive.content


def test_a_class_is_chosen_by_name_and_an_unknown_one_lists_the_ten(server, monkeypatch):
    for data in ("cifar10", ""):
        monkeypatch.setenv("IMAGE_FILL_DATA", data)
        with pytest.raises(ValueError, match="'cars'.*" + ", ".join(CLASSES)):
            utils.load_images(class_name="cars")
    assert server.asked == [], "it could be known before the download"
    photos = utils.load_images("cifar10", "horse")
    assert (photos.name, photos.class_name) == ("CIFAR-10 horses", "horse")


FAULTS = ["silent", "stalled", "truncated", "corrupted", "error page", "error", "endless", "trickling"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_download_that_fails_is_a_clear_error_and_leaves_nothing_to_trust(server, archive, fault):
    spoil(server, fault)
    with pytest.raises(RuntimeError) as error:
        utils.load_images("cifar10")
    for needed in (*utils.SOURCES, str(utils.DATA / utils.CIFAR10), "by hand", "IMAGE_FILL_DATA=photos"):
        assert needed in str(error.value)
    for no_cause in ("free", "can be written"):
        assert no_cause not in str(error.value)
    size = max((path.stat().st_size for path in utils.DATA.iterdir()), default=0)
    assert size <= len(archive.content), "more was written than the archive has"
    spoil(server, None)
    assert_right(utils.load_images("cifar10"), archive)


def test_a_refused_connection_is_one_message(server, monkeypatch):
    monkeypatch.setattr(utils, "SOURCES", ["http://127.0.0.1:1/"])
    with pytest.raises(RuntimeError, match="refused") as error:
        utils.load_images("cifar10")
    assert error.value.__suppress_context__, "a reader would see all the errors below this one"
    assert len(str(error.value)) < 1000


def test_a_download_that_was_cut_goes_on(server, archive):
    spoil(server, "truncated")
    with pytest.raises(RuntimeError, match="Run it again"):
        utils.load_images("cifar10")
    spoil(server, "error page")
    with pytest.raises(RuntimeError):
        utils.load_images("cifar10")
    spoil(server, None)
    assert_right(utils.load_images("cifar10"), archive)
    half = len(archive.content) // 2
    assert server.asked[:2] == [("mirror", 0), ("home", half)]
    assert server.asked[-1][1] > half, "the page to sign in has cost what had come before it"


def test_a_server_that_always_sends_all_is_let(server, archive):
    server.faults = {"mirror": "truncated", "home": "no ranges"}
    assert_right(utils.load_images("cifar10"), archive)


def test_a_download_that_was_killed_before_its_last_step_is_finished(server, archive):
    utils.DATA.mkdir()
    (utils.DATA / f"{utils.CIFAR10}.part").write_bytes(archive.content)
    assert_right(utils.load_images("cifar10"), archive)
    assert server.asked == [("mirror", len(archive.content) - 1)]


def test_what_killed_runs_left_is_swept_and_nothing_else(server, archive):
    (utils.DATA / "tmp_my_cars").mkdir(parents=True)
    for name in ("tmpk3x_9ab2", "tmp_my_cars/car.png", "tmp.txt"):
        (utils.DATA / name).write_bytes(b"a part of an archive")
    assert_right(utils.load_images("cifar10"), archive)
    left = {str(path.relative_to(utils.DATA)) for path in utils.DATA.rglob("*") if path.is_file()}
    assert left - {"cifar-10.lock"} == {utils.CIFAR10, str(Path("tmp_my_cars/car.png")), "tmp.txt"}


def test_unset_falls_back_to_the_stand_in_with_a_warning(server, monkeypatch):
    monkeypatch.delenv("IMAGE_FILL_DATA", raising=False)
    spoil(server, "error page")
    with pytest.warns(UserWarning, match="STAND-IN PHOTOGRAPHS") as warnings:
        photos = utils.load_images()
    assert (photos.name, photos.class_name) == ("stand-in photographs", "")
    text = str(warnings[0].message)
    assert "not with the archive" in text, "what failed"
    assert utils.SOURCES[-1] + utils.CIFAR10 in text, "where to get it"
    assert str(utils.DATA / utils.CIFAR10) in text, "where to put it"


def test_a_slow_download_that_moves_is_let_finish(server, archive, capfd):
    spoil(server, "slow")
    started = time.time()
    assert_right(utils.load_images("cifar10"), archive)
    assert time.time() - started > utils.PATIENCE
    assert "%|" in capfd.readouterr().err, "no progress was shown"


# Loads from the test's server in a process of its own, as a second notebook would. There a torchvision of another time
# than torch fails at its import.
ANOTHER_NOTEBOOK = """
import pickle, sys
sys.modules["torchvision"] = None
import utils
for name, value in pickle.load(open(sys.argv[1], "rb")).items():
    setattr(utils, name, value)
pickle.dump(tuple(utils.load_images("cifar10")), open(sys.argv[2], "wb"))
"""


def start_another_notebook(folder: Path, name: str) -> tuple[subprocess.Popen, Path]:
    """The process, and the file that it will write what it has loaded to."""
    settings = {name: getattr(utils, name) for name in ("DATA", "PATIENCE", "SOURCES", "CIFAR10_SIZE", "CIFAR10_MD5")}
    (folder / "how").write_bytes(pickle.dumps(settings))
    command = [sys.executable, "-c", ANOTHER_NOTEBOOK, folder / "how", folder / name]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    return subprocess.Popen(command, cwd=utils.ROOT, **options), folder / name


def test_a_killed_download_leaves_nothing_to_trust_and_is_gone_on_with(server, archive, tmp_path):
    spoil(server, "slow")
    process, _ = start_another_notebook(tmp_path, "killed")
    while not server.asked and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.5)
    process.kill()
    assert process.wait() != 0
    assert (utils.DATA / f"{utils.CIFAR10}.part").exists(), "the download had not begun"
    assert not (utils.DATA / utils.CIFAR10).exists()
    spoil(server, None)
    assert_right(utils.load_images("cifar10"), archive)
    assert server.asked[-1][1] > 0
    assert {path.name for path in utils.DATA.iterdir()} <= {utils.CIFAR10, "cifar-10.lock"}, "it has left something"


def test_two_that_start_at_once_both_get_the_right_pixels(server, archive, tmp_path):
    spoil(server, "slow")
    for process, path in [start_another_notebook(tmp_path, name) for name in ("one", "two")]:
        assert process.wait(120) == 0
        assert_right(utils.Photos(*pickle.loads(path.read_bytes())), archive)
    assert server.asked == [("mirror", 0)]


def test_one_that_waits_for_another_says_so(server, archive, tmp_path):
    with FileLock(utils.DATA / "cifar-10.lock"):
        process, path = start_another_notebook(tmp_path, "waiting")
        assert "waits" in process.stdout.readline()
        assert process.poll() is None
        assert server.asked == []
    assert process.wait(120) == 0
    assert_right(utils.Photos(*pickle.loads(path.read_bytes())), archive)


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
        assert "free" not in str(error.value)
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
            with pytest.raises(RuntimeError, match="200 MB free") as error:
                utils.load_images("cifar10")
            assert "can be written" not in str(error.value)
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
    assert (photos.name, photos.class_name) == (f"{folder.name}, horse", "horse")
    assert [len(split) for split in (photos.train, photos.validation, photos.test)] == [11, 1, 12]
    first = np.asarray(Image.open(folder / "train" / "horse" / "00.png"))
    assert np.array_equal(photos.train[0].permute(1, 2, 0), first)


def test_a_folder_may_have_a_name_for_pictures_and_an_equals_sign(folder, monkeypatch):
    monkeypatch.setenv("IMAGE_FILL_DATA", f"My cars (2026)={folder}")
    assert utils.load_images().name == "My cars (2026)"
    there = folder / "size=32"
    there.mkdir()
    for split in ("train", "test"):
        (folder / split).rename(there / split)
    assert utils.load_images(str(there)).name == "size=32, automobile"
    assert utils.load_images(f"My cars={there}").name == "My cars"
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        utils.load_images(f"My cars={there / 'nowhere'}")


def test_a_folder_may_be_flat_and_relative_to_the_repository(folder, monkeypatch):
    (folder / "flat").mkdir()
    for split in ("train", "test"):
        (folder / split / "horse").rename(folder / "flat" / split)
    monkeypatch.setattr(utils, "ROOT", folder)
    monkeypatch.chdir("/")
    photos = utils.load_images("flat")
    assert (photos.name, photos.class_name) == ("flat", "")
    assert len(photos.test) == 12


def test_only_as_many_images_are_read_as_the_effort_takes(folder, monkeypatch):
    for split in ("train", "test"):
        for i in range(12, 150):
            (folder / split / "horse" / f"{i:03}.png").write_bytes((folder / split / "horse" / "00.png").read_bytes())
    for split, unread in (("train", "070.png"), ("test", "070.png")):
        (folder / split / "horse" / unread).write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"070\.png"):
        utils.load_images(str(folder), "horse")
    monkeypatch.setenv("IMAGE_FILL_EFFORT", "smoke")
    photos = utils.load_images(str(folder), "horse")
    assert [len(split) for split in photos[1:4]] == [64, 15, 64], "the last tenth of the 150 is the validation set"


def test_a_long_reading_shows_its_progress(folder, monkeypatch, capfd):
    def read_slowly(path):
        time.sleep(0.35 if "train" in path.parts else 0)
        return utils.torch.zeros(1, 3, 32, 32)

    utils.load_images(str(folder))
    assert "%|" not in capfd.readouterr().err, "it was shown though nobody had to wait"
    monkeypatch.setattr(utils, "read_photo", read_slowly)
    utils.load_images(str(folder))
    assert "%|" in capfd.readouterr().err


def test_what_lies_about_is_no_class_and_no_image(folder, capsys):
    for split in ("train", "test"):
        (folder / split / "horse").rename(folder / f"{split} flat")
        for clutter in ("__MACOSX", "Thumbs", ".thumbnails", "@eaDir"):
            (folder / split / clutter).mkdir()
            (folder / split / clutter / "00.png").write_bytes(b"small")
        (folder / split / "automobile" / "notes.txt").unlink()
        (folder / split / "automobile" / "Thumbs.db").write_bytes(b"of Windows")
    photos = utils.load_images(str(folder))
    assert len(photos.test) == 12
    assert capsys.readouterr().out == "", "nothing has been left out that its owner would miss"
    with pytest.raises(ValueError, match="no class 'Thumbs'; it has automobile\\."):
        utils.load_images(str(folder), "Thumbs")


def test_images_that_are_left_out_are_counted_and_told(folder, capsys):
    utils.load_images(str(folder))
    usual = capsys.readouterr().out
    assert [line.split(": ")[1][:18] for line in usual.splitlines()] == ["1 files are left o"] * 2, "notes.txt"
    (folder / "train" / "automobile" / "2025").mkdir()
    for more in ("loose.png", "automobile/2025/deep.png", "automobile/telephone.heic", "automobile/old.eps"):
        (folder / "train" / more).write_bytes(b"not read")
    photos = utils.load_images(str(folder))
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2
    assert f"{folder / 'train' / 'automobile'}: 5 files are left out" in told[0]
    assert len(photos.train) == 11


def test_one_split_flat_and_the_other_by_class_is_an_error(folder):
    (folder / "train" / "horse").rename(folder / "flat")
    for by_class, flat in (("train", "test"), ("test", "train")):
        place = folder / f"{by_class} by class"
        place.mkdir()
        (folder / "train").rename(place / by_class)
        (folder / "flat").rename(place / flat)
        with pytest.raises((ValueError, FileNotFoundError), match=r"test (has no class|with 2 images)"):
            utils.load_images(str(place))
        (place / by_class).rename(folder / "train")
        (place / flat).rename(folder / "flat")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no user ids")
def test_a_folder_that_may_not_be_read_is_named(folder, capsys):
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)  # so that another user can look into it
        train = Path(place, "mine", "train")
        shutil.copytree(folder, train.parent)
        train.parent.chmod(0o755)
        train.chmod(0)
        try:
            if user == 0:  # root may read everything
                os.seteuid(65534)
            with pytest.raises(FileNotFoundError, match=r"no folder .*train with"):
                utils.load_images(str(train.parent))
        finally:
            os.seteuid(user)
            train.chmod(0o755)
    assert f"Permission denied: '{train}'" in capsys.readouterr().out


def test_a_class_may_be_a_link(folder, tmp_path_factory):
    there = tmp_path_factory.mktemp("elsewhere") / "cars"
    (folder / "train" / "automobile").rename(there)
    try:
        (folder / "train" / "automobile").symlink_to(there, target_is_directory=True)
    except OSError:
        pytest.skip("this system lets nobody make links")
    assert len(utils.load_images(str(folder)).train) == 11


def test_a_file_is_no_folder(folder):
    with pytest.raises(FileNotFoundError, match=r"no folder .*00\.png"):
        utils.load_images(str(folder / "train" / "horse" / "00.png"))


def test_a_folder_without_the_class_lists_what_it_has(folder):
    with pytest.raises(ValueError, match="no class 'dog'; it has automobile, horse"):
        utils.load_images(str(folder), "dog")


def test_a_folder_without_the_layout_says_what_is_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere.*train/<class>/ and test/<class>/"):
        utils.load_images(str(tmp_path / "nowhere"))
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
    with pytest.raises(FileNotFoundError, match=r"no folder .*train with 2 images or more"):
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


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_any_mode_becomes_the_colours_it_shows(tmp_path, mode):
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    if mode == "I;16":
        Image.fromarray(np.full((40, 40), 0x8080, dtype=np.uint16)).save(path)
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


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_exif_that_makes_no_sense_does_not_cost_the_photograph(tmp_path):
    for i, exif in enumerate((b"Exif\0\0rubbish", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"")):
        Image.new("RGB", (32, 32), "red").save(tmp_path / f"{i}.png", exif=exif)
        assert utils.read_photo(tmp_path / f"{i}.png")[0, :, 16, 16].tolist() == [255, 0, 0]


def write_tiff(path: Path, pixels: bytes, bits: int, white_is_zero: bool = False, sample_format: int = 1) -> None:
    """A grey TIFF of 32x32 pixels, little-endian, uncompressed."""
    tags = {256: 32, 257: 32, 258: bits, 259: 1, 262: int(not white_is_zero), 273: 200, 277: 1, 278: 32}
    tags |= {279: len(pixels), 339: sample_format}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)
    path.write_bytes(header.ljust(200, b"\0") + pixels)


@pytest.mark.parametrize(("bits", "value"), [(8, "<u1"), (16, "<u2")])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_a_tiff_whose_zero_is_white_is_no_negative(tmp_path, bits, value, white_is_zero):
    dark = np.full((32, 32), round(0.2 * (2**bits - 1)), dtype=value)
    write_tiff(tmp_path / "a.tif", dark.tobytes(), bits, white_is_zero)
    expected = 204 if white_is_zero else 51
    assert (utils.read_photo(tmp_path / "a.tif").int() - expected).abs().max() <= 1


@pytest.mark.parametrize(
    ("bits", "sample_format", "value"),
    [(32, 3, "<f4"), (32, 1, "<u4"), (32, 2, "<i4"), (16, 2, "<i2"), (8, 2, "<i1"), (12, 1, None)],
)
def test_numbers_of_which_nobody_can_say_what_is_white_are_refused(tmp_path, bits, sample_format, value):
    pixels = np.ones((32, 32), dtype=value).tobytes() if value else bytes(32 * 48)
    write_tiff(tmp_path / "a.tif", pixels, bits, sample_format=sample_format)
    with pytest.raises(ValueError, match=r"a\.tif cannot be read as an image"):
        utils.read_photo(tmp_path / "a.tif")


SRGB = np.array([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])  # to XYZ, D50
ADOBE_RGB = np.array([[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]])


def make_profile(gamma: float, colorants: np.ndarray | None) -> bytes:
    """An ICC profile of version 2: of grey, or of three colours with these colorants."""
    curve = struct.pack(">4sIIH", b"curv", 0, 1, round(gamma * 256)).ljust(16, b"\0")

    def xyz(values: np.ndarray) -> bytes:
        return struct.pack(">4sI3i", b"XYZ ", 0, *(round(float(value) * 65536) for value in values))

    tags = {b"wtpt": xyz(np.array([0.9642, 1, 0.8249]))}
    if colorants is None:
        tags[b"kTRC"] = curve
    else:
        tags |= {name + b"TRC": curve for name in (b"r", b"g", b"b")}
        tags |= {name + b"XYZ": xyz(column) for name, column in zip((b"r", b"g", b"b"), colorants.T, strict=True)}
    table, data, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, start + len(data), len(value))
        data += value
    header = struct.pack(">I4sI4s4s4s", start + len(data), b"lcms", 0x02100000, b"mntr", b"", b"XYZ ")
    header = header[:16] + (b"GRAY" if colorants is None else b"RGB ") + header[20:] + bytes(12) + b"acsp"
    header = header.ljust(68, b"\0") + xyz(np.array([0.9642, 1, 0.8249]))[8:]
    return header.ljust(128, b"\0") + table + data


def encode_srgb(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize(("gamma", "colorants"), [(2.19921875, ADOBE_RGB), (1.0, SRGB)], ids=["Adobe RGB", "linear"])
def test_the_colours_of_a_profile_are_converted_to_srgb(tmp_path, ending, gamma, colorants):
    colour = np.array([120, 160, 90])
    picture = Image.new("RGB", (32, 32), tuple(colour.tolist()))
    picture.save(tmp_path / f"a.{ending}", icc_profile=make_profile(gamma, colorants), **{"quality": 100})
    expected = encode_srgb(np.linalg.inv(SRGB) @ colorants @ (colour / 255) ** gamma)
    assert np.abs(expected - colour).max() > 20, "the profile would make no difference"
    shown = utils.read_photo(tmp_path / f"a.{ending}")[0, :, 16, 16].double().numpy()
    assert np.abs(shown - expected).max() <= 3


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16"])
def test_a_profile_counts_in_every_mode(tmp_path, mode):
    grey = Image.new("L", (32, 32), 60)
    picture = Image.fromarray(np.full((32, 32), 60 * 257, dtype=np.uint16)) if mode == "I;16" else grey.convert(mode)
    profile = make_profile(1.0, None if mode in ("L", "LA", "I;16") else SRGB)
    picture.save(tmp_path / "a.png", icc_profile=profile)
    expected = encode_srgb(np.array(60 / 255))
    assert abs(utils.read_photo(tmp_path / "a.png").double().mean() - expected) <= 2


@pytest.mark.parametrize("profile", [b"", b"rubbish", make_profile(2.2, None)])
def test_a_profile_that_does_not_fit_is_passed_over(tmp_path, profile):
    Image.new("RGB", (32, 32), (120, 160, 90)).save(tmp_path / "a.png", icc_profile=profile)
    assert utils.read_photo(tmp_path / "a.png")[0, :, 16, 16].tolist() == [120, 160, 90]


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Ghostscript is a shell script")
def test_no_other_program_is_started_whatever_a_file_holds(tmp_path, monkeypatch):
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexit 1\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    path = tmp_path / "photo.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(ValueError, match=r"photo\.png cannot be read"):
        utils.read_photo(path)
    assert not (tmp_path / "started").exists()
    with Image.open(path) as image, pytest.raises(Exception, match=r"."):
        image.load()
    assert (tmp_path / "started").exists(), "this Pillow would not have started it either"


def test_a_format_that_is_not_read_says_what_to_do(tmp_path):
    (tmp_path / "telephone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(ValueError, match=r"telephone\.heic cannot be read as an image .*make it a JPEG"):
        utils.read_photo(tmp_path / "telephone.heic")
    first, second = (Image.new("RGB", (40, 40), colour) for colour in ("red", "black"))
    first.save(tmp_path / "two.mpo", save_all=True, append_images=[second])
    (tmp_path / "two.mpo").rename(tmp_path / "two.jpg")
    assert utils.read_photo(tmp_path / "two.jpg")[0, 0].min() > 250, "two photographs in a file, as telephones write"


def test_whatever_a_decoder_raises_is_one_error_that_names_the_file(tmp_path, monkeypatch):
    def raise_it(file, name):
        raise RuntimeError("the decoder failed")

    Image.new("RGB", (8, 8)).save(tmp_path / "a.bmp")
    utils.read_photo(tmp_path / "a.bmp")
    monkeypatch.setitem(Image.OPEN, "BMP", (raise_it, lambda prefix: prefix.startswith(b"BM")))
    with pytest.raises(ValueError, match=r"a\.bmp .*the decoder failed"):
        utils.read_photo(tmp_path / "a.bmp")


ENDINGS = ["jpg", "png", "gif", "webp", "bmp", "tif"] + ["avif"] * bool(features.check("avif"))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.filterwarnings("ignore")
def test_spoilt_files_are_read_or_refused(tmp_path, ending):
    rng, path = np.random.default_rng(0), tmp_path / f"a.{ending}"
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    whole, others = path.read_bytes(), []
    assert utils.read_photo(path).float().std() > 10
    for _ in range(100):
        spoilt = bytearray(whole)
        for place in rng.integers(0, min(len(whole), 400), 4):
            spoilt[place] = rng.integers(0, 256)
        path.write_bytes(spoilt)
        try:
            utils.read_photo(path)
        except Exception as error:
            others.append((type(error), str(path) in str(error)))
    assert set(others) == {(ValueError, True)}


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", *ENDINGS[6:]])
def test_half_a_file_is_refused_also_where_it_is_to_be_turned(tmp_path, ending):
    exif, path = Image.Exif(), tmp_path / f"a.{ending}"
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(ValueError, match="cannot be read as an image"):
        utils.read_photo(path)
