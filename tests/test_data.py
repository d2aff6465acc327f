"""CIFAR-10 from real local servers, a folder of one's own, photos, and the stand-in."""

import hashlib
import io
import pickle
import socket
import tarfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

import utils

NAME = "cifar-10-python.tar.gz"


@pytest.fixture
def tiny_cifar10(tmp_path, monkeypatch):
    """An archive like CIFAR-10's with 4 images in each batch, labels 0, 1, 1, 7: its bytes, and the
    images of class 1, the automobiles, of the training set. Nothing lies in `data/` yet.
    """
    rng, members, cars = np.random.default_rng(0), {}, []
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        images = rng.integers(0, 256, (4, 3072), dtype=np.uint8)
        members[name] = pickle.dumps({"data": images, "labels": [0, 1, 1, 7]})
        cars.append(torch.from_numpy(images[1:3]).view(-1, 3, 32, 32))
    labels = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse"]
    members["batches.meta"] = pickle.dumps({"label_names": labels})
    with tarfile.open(fileobj=(file := io.BytesIO()), mode="w:gz") as tar:
        for name, content in members.items():
            about = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    sums = [[name, hashlib.md5(content).hexdigest()] for name, content in members.items()]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", sums[5:6])
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": sums[6][1]})
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(file.getvalue()).hexdigest())
    monkeypatch.setattr(utils, "DATA", tmp_path / "data")
    return file.getvalue(), torch.cat(cars[:5])


@contextmanager
def serve(answer: bytes, status: int = 200, cut: int = 0):
    """The address of a server that sends `answer`, its last `cut` bytes left out."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer[: len(answer) - cut])

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{NAME}"
        server.shutdown()


def test_it_is_downloaded_once_and_the_class_picked(tiny_cifar10, monkeypatch):
    archive, cars = tiny_cifar10
    with serve(archive) as address:
        monkeypatch.setattr(utils, "SOURCES", [address])
        photos = utils.load_images("cifar10")
    assert torch.equal(torch.cat([photos.train, photos.validation]), cars)
    assert (photos.name, photos.class_name) == ("CIFAR-10 automobiles", "automobile")
    assert len(utils.load_images("cifar10", "horse").test) == 1, "what lies there needs no server"
    (utils.DATA / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"damaged")  # it is unpacked again
    assert len(utils.load_images("cifar10", "horse").train) == 4
    with pytest.raises(ValueError, match="no class 'cars'; it has airplane, automobile"):
        utils.load_images("cifar10", "cars")


@pytest.mark.parametrize("trouble", ["not found", "sign in", "cut", "silent"])
def test_where_the_first_address_fails_the_second_is_used(tiny_cifar10, trouble, monkeypatch):
    archive, cars = tiny_cifar10
    bad = {"not found": (b"", 404, 0), "sign in": (b"<html>", 200, 0), "cut": (archive, 200, 99)}
    silent, set_limit = socket.create_server(("127.0.0.1", 0)), socket.setdefaulttimeout
    monkeypatch.setattr(socket, "setdefaulttimeout", lambda x: set_limit(x and 0.5))
    with serve(*bad.get(trouble, (b"",))) as first, serve(archive) as second:
        if trouble == "silent":
            first = f"http://127.0.0.1:{silent.getsockname()[1]}/{NAME}"
        monkeypatch.setattr(utils, "SOURCES", [first, second])
        photos = utils.load_images("cifar10")
    silent.close()
    assert torch.equal(torch.cat([photos.train, photos.validation]), cars)


def test_without_any_the_error_says_what_to_do_and_unset_the_stand_in_is_used(tiny_cifar10, monkeypatch):
    with serve(b"", 503) as first, serve(b"<html>") as second:
        monkeypatch.setattr(utils, "SOURCES", [first, second])
        with pytest.raises(RuntimeError, match="IMAGE_FILL_DATA=photos does without") as error:
            utils.load_images("cifar10")
        assert all(x in str(error.value) for x in (first, second, str(utils.DATA)))
        monkeypatch.delenv("IMAGE_FILL_DATA")
        with pytest.warns(UserWarning, match="STAND-IN PHOTOGRAPHS"):
            assert utils.load_images().name == "stand-in photographs"


def test_a_folder_of_ones_own(tmp_path):
    for split, count in (("train", 12), ("test", 3)):
        for kind, colour in (("cat", "red"), ("dog", "blue")):
            (tmp_path / split / kind).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (50, 40 + i), colour).save(tmp_path / split / kind / f"{i:02}.png")
    photos = utils.load_images(f"pets={tmp_path}", "dog")
    assert (photos.name, photos.class_name) == ("pets", "dog")
    assert [len(x) for x in photos[1:4]] == [11, 1, 3]
    assert photos.test[0, :, 5, 5].tolist() == [0, 0, 255]
    with pytest.raises(ValueError, match="no class 'automobile'; it has cat, dog"):
        utils.load_images(str(tmp_path))
    (tmp_path / "train" / "dog" / "03.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"03\.png cannot be read as an image"):
        utils.load_images(str(tmp_path), "dog")
    with pytest.raises(FileNotFoundError, match="IMAGE_FILL_DATA can be a folder with train/<class>/"):
        utils.load_images(str(tmp_path / "train"))


def test_a_photo_is_upright_on_white_and_its_middle_square(tmp_path):
    photo = Image.new("RGB", (200, 100), "red")
    photo.paste("blue", (50, 0, 150, 50))  # its middle square is blue above, and turned at the right
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    photo.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    found = utils.read_photo(tmp_path / "turned.jpg").float()[:, 4:-4].unflatten(2, (2, 16)).mean(dim=(1, 3))
    assert (found - torch.tensor([[255.0, 0.0], [0.0, 0.0], [0.0, 255.0]])).abs().max() < 25
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (utils.read_photo(tmp_path / "clear.png") == 255).all()
