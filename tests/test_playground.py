"""The playground at the end of notebook 3: its still picture, and what its controls draw."""

import sys
from datetime import UTC, datetime
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

import utils
from notebooks import FOLDER, code_cells, load_definitions

notebook3 = load_definitions("3_cvae")


@pytest.fixture
def play(photos, monkeypatch):
    """The last cell of the notebook, run with untrained networks: what it defines, and the figures that it shows."""
    figures = []
    monkeypatch.setattr(utils, "show", lambda figure, alt: figures.append(figure))
    networks = {name: network() for name, network in notebook3.CONSTRUCTIONS.items()}
    namespace = vars(notebook3) | {"photos": photos, "networks": networks, "grey": torch.tensor(0.5)}

    def run():
        exec(code_cells(FOLDER / "3_cvae.ipynb")[-1].source, namespace)
        return SimpleNamespace(**namespace), figures

    yield run
    plt.close("all")


def test_the_playground_without_widgets_shows_its_picture_and_says_why(play, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    _, figures = play()
    assert len(figures) == 1
    assert "ipywidgets is not installed" in capsys.readouterr().out


@pytest.mark.parametrize(("top", "left", "side"), [(0, 0, 4), (28, 28, 4), (10, 3, 12), (28, 0, 12), (5, 7, 20)])
def test_the_playground_fills_the_hole_and_leaves_the_rest(play, photos, top, left, side):
    game, figures = play()
    photo = photos.test[3:4]
    game.draw_by_hand(photo, sample=2, top=top, left=left, side=side)
    holed, filled, truth = (axis.images[0].get_array() for axis in figures[-1].axes)
    hole = (holed != truth).any(axis=2)
    top, left = min(top, 32 - side), min(left, 32 - side)
    assert hole[top : top + side, left : left + side].mean() > 0.9, "but for grey pixels"
    assert (filled[~hole] == truth[~hole]).all()
    assert not np.allclose(filled[hole], truth[hole])
    assert ("missing part" if side <= 12 else "whole image") in figures[-1].axes[1].get_title()


def test_the_playgrounds_controls_draw_anew(play, tmp_path, capsys):
    game, figures = play()
    game.another.click()
    assert "sample 2" in figures[-1].axes[1].get_title()
    picture = Image.new("RGB", (50, 40), "lime")
    picture.save(tmp_path / "lime.png")
    for content in ((tmp_path / "lime.png").read_bytes(), b"no image"):
        game.controls["own"].value = (
            {
                "name": "lime.png",
                "type": "image/png",
                "size": 1,
                "content": content,
                "last_modified": datetime.now(UTC),
            },
        )
    assert (figures[-1].axes[2].images[0].get_array() == (0, 1, 0)).all()
    assert "cannot be read as an image" in capsys.readouterr().out
    game.controls["image"].value = 5
    assert not game.controls["own"].value
    truth = figures[-1].axes[2].images[0].get_array()
    assert (truth == game.photos.test[5].permute(1, 2, 0).numpy() / np.float32(255)).all()
