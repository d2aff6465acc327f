"""What pictures and tables show: holes outlined, windows around them, curves with their legend, the best in bold."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

import utils


@pytest.fixture
def shown(monkeypatch):
    """What was displayed: pictures with their alternative texts, and Markdown."""
    found = []
    monkeypatch.setattr(utils.display, "display", lambda thing, **options: found.append((thing, options)))
    return found


def alt(options: dict) -> str:
    return options["metadata"]["image/png"]["alt"]


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB")).astype(int)


def test_each_fill_is_shown_enlarged_and_told_in_words(shown):
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    masks = utils.square_holes(torch.tensor([[0, 0], [10, 9]]), 12)
    red = utils.composite(torch.tensor([1.0, 0, 0])[:, None, None], images / 255, masks)
    utils.show_fills({"red": red}, images, masks, "Two holes\nblack photographs")
    (picture, options), colours = shown[0], pixels(shown[0][0])
    for word in ("Two holes", "black photographs", "Photographs, one a row, of 2", "red", "truth"):
        assert word in alt(options)
    share = (abs(colours - [255, 0, 0]).max(axis=2) < 40).sum() / picture.size[0] / picture.size[1]
    assert share > 0.05, "the hole is not enlarged"


def outlined(mask: torch.Tensor) -> set:
    figure, axis = plt.subplots()
    utils.outline(axis, mask)
    edges = {tuple(map(tuple, edge)) for edge in axis.collections[0].get_segments()}
    colours = [tuple(collection.get_colors()[0][:3]) for collection in axis.collections]
    plt.close(figure)
    assert colours == [(0, 0, 0), (1, 1, 1)], "white on black, which shows on every photograph"
    return edges


def test_the_outline_is_the_edge_of_the_hole():
    mask = torch.ones(5, 5)
    mask[1, 2] = 0
    around = {((1.5, 0.5), (1.5, 1.5)), ((2.5, 0.5), (2.5, 1.5)), ((1.5, 0.5), (2.5, 0.5)), ((1.5, 1.5), (2.5, 1.5))}
    assert outlined(mask) == around


def test_a_hole_at_the_photographs_edge_is_outlined_there_too():
    assert len(outlined(torch.zeros(3, 3))) == 12


def test_the_photographs_shown_span_easy_to_hard_by_a_rule(photos):
    few = utils.pick_shown(photos.test)
    assert torch.equal(few, utils.pick_shown(photos.test))
    masks = utils.evaluation_masks("random", len(photos.test))
    mse = utils.score_images(utils.fill_images(utils.fill_heat, photos.test, masks), photos.test, masks).mse.to_numpy()
    ranks = mse.argsort().argsort()[few.numpy()]
    assert (np.abs(ranks / len(mse) - [0.1, 0.3, 0.5, 0.7, 0.9]) < 0.02).all()


def test_no_legend_lies_over_a_curve(shown, monkeypatch):
    figures, show = [], utils.show
    monkeypatch.setattr(utils, "show", lambda figure, *a, **o: (figures.append(figure), show(figure, *a, **o)))
    frame = pd.DataFrame({"training": [3.0, 2.0, 1.0], "validation": [3.0, np.nan, 1.5]}, index=[1, 2, 3])
    many = {f"a filler of a rather long name, {i}"[: 15 + 2 * i]: [1.0, 2.0] for i in range(6)}
    utils.draw_curves({"one panel": pd.DataFrame(many)}, "epoch", "loss", "Many curves")
    utils.draw_curves({"first": frame, "second": frame}, "epoch", "loss", "Two panels")
    for figure in figures:
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert not any(box.overlaps(axis.get_tightbbox()) for axis in figure.axes)
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1, "the legend is clipped"
    assert [text.get_text() for text in legend.get_texts()] == ["training", "validation"]
    told = alt(shown[-1][1])
    assert "Two panels" in told
    assert "second validation from 3 to 1.5" in told


def test_layers_are_drawn_to_scale_and_told_in_words(shown, monkeypatch):
    figures, show = [], utils.show
    monkeypatch.setattr(utils, "show", lambda figure, *a, **o: (figures.append(figure), show(figure, *a, **o)))
    shapes = [(4, 32, 32), (48, 16, 16), (96, 8, 8), (128, 4, 4), (96, 8, 8), (48, 16, 16), (3, 32, 32)]
    utils.draw_layers({"a network": shapes, "another": [*shapes[:4], (96, 3, 3), (3, 40, 40)]}, "Steps")
    first, second = figures[0].axes
    assert [square.get_width() for square in first.patches] == [side for _, side, _ in shapes]
    assert first.get_xlim() == second.get_xlim(), "one scale for all"
    assert second.patches[-1].get_window_extent().x1 <= second.get_window_extent().x1, "the last square is clipped"
    assert "a network 4x32x32, 48x16x16" in alt(shown[0][1])


def test_a_table_has_its_digits_its_intervals_and_its_best_in_bold(shown):
    table = pd.DataFrame({"dB": [1.234, 5.678, np.nan], "dB_low": [1, 5, 0], "dB_high": [2, 6, 0], "n": [3, 1, 2]})
    table.index = pd.Index(["a", "b", "c"], name="filler")
    utils.show_table(table, {"dB": (2, max), "n": (0, min)}, "A caption")
    lines = shown[0][0].data.splitlines()
    assert lines[0] == "A caption"
    assert lines[2].startswith("| filler | dB | n |")
    assert lines[4:] == ["| a | 1.23 [1.00, 2.00] | 3 |", "| b | **5.68 [5.00, 6.00]** | **1** |", "| c |  | 2 |"]


def test_a_picture_is_written_whole_where_the_readme_wants_it(shown, tmp_path, monkeypatch):
    monkeypatch.setattr(utils, "OUTPUT", tmp_path)
    utils.show_grid({"grey": torch.full((2, 3, 8, 8), 0.5)}, "Two greys", save_as="greys.png")
    stored = (tmp_path / "readme_image" / "greys.png").read_bytes()
    with Image.open(io.BytesIO(stored)) as picture:
        assert (pixels(picture) == pixels(shown[0][0])).all()


def test_where_samples_disagree_is_bright(shown):
    samples = torch.full((2, 5, 3, 32, 32), 0.5)
    samples[:, ::2, :, 10:20, 10:20] = 0
    utils.show_spread({"one": samples, "two": samples}, utils.square_holes(torch.full((2, 2), 10), 12), "Where")
    picture, options = shown[0]
    assert "one and two" in alt(options)
    brightest = plt.get_cmap("magma")(1.0)[:3]
    assert (abs(pixels(picture) - [255 * x for x in brightest]).max(axis=2) < 12).mean() > 0.005


def test_maps_share_one_scale_of_powers_of_ten(shown, monkeypatch):
    figures, show = [], utils.show
    monkeypatch.setattr(utils, "show", lambda figure, *a, **o: (figures.append(figure), show(figure, *a, **o)))
    maps = {"one": torch.full((4, 4), 0.1), "two": torch.logspace(-3, 0, 16).view(4, 4)}
    utils.show_maps(maps, "x", "y", "error", "Two maps")
    limits = {image.get_clim() for axis in figures[0].axes for image in axis.get_images()}
    assert len(limits) == 1
    assert limits.pop() == pytest.approx((1e-3, 1))
    assert "two from 1 to 0.001" in alt(shown[0][1])


def test_arrows_start_and_end_at_the_boxes_and_what_none_touches_is_left_out(shown, monkeypatch):
    figures, show = [], utils.show
    monkeypatch.setattr(utils, "show", lambda figure, *a, **o: (figures.append(figure), show(figure, *a, **o)))
    places = {"in": (0, 0), "prior": (1, 0), "posterior": (1, 2), "out": (2, 1)}
    panels = {"all": [("in", "prior"), ("prior", "posterior"), ("prior", "out")], "few": [("in", "out")]}
    utils.draw_flow(panels, places, "Who sees what")
    first, second = figures[0].axes
    assert {text.get_text() for text in second.texts} - {""} == {"in", "out"}
    assert [text.arrow_patch.get_linestyle() for text in first.texts if text.get_text() == ""] == ["-", "--", "-"]
    assert "all: in to prior, prior to posterior, prior to out; few: in to out" in alt(shown[0][1])


def test_the_latent_of_a_coin_shows_both_colours_over_the_prior(shown):
    z = torch.linspace(-3, 3, 50)
    means = {"red badges": torch.full((20, 1), 1.0), "blue badges": torch.full((20, 1), -1.0)}
    utils.draw_latent(means, z, (-z.square() / 2).exp() / 2.5, 0.6 * z.sign(), "A coin")
    picture, options = shown[0]
    assert "red badges around 1, blue badges around -1" in alt(options)
    for colour in ([255, 102, 102], [102, 102, 255]):
        assert (abs(pixels(picture) - colour).max(axis=2) < 30).any()
