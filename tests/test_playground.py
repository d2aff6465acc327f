"""The playground at the end of each notebook: strokes, fills, its still picture, and a reader who plays with it."""

import base64
import io
import sys
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import scipy
import torch
from conftest import PATIENCE
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from PIL import Image
from traitlets.config import Config

import utils

ALL_KNOWN = torch.ones(1, 1, 32, 32)
WIDGET = "application/vnd.jupyter.widget-view+json"
STROKE = [[0.2, 0.3], [0.7, 0.5], [0.4, 0.8]]


def refuse(images, masks):
    """A filler for one 12x12 square alone."""
    return utils.put_back(images.new_full((len(images), 3, 12, 12), 0.5), images, masks)


def draw_noise(generator, images, masks):
    return torch.rand(images.shape, generator=generator).to(images)


FILLERS, SAMPLERS = (
    {"heat diffusion": utils.fill_heat, "square only": refuse},
    {"noise": draw_noise},
)


def ask(photos, **asked):
    asked = {"number": 3, "photo": "", "strokes": [[STROKE, 3]], "sample": 1} | asked
    return utils.fill_painted(FILLERS, photos.test, SAMPLERS, asked)


def pixels(address: str, scale: int) -> np.ndarray:
    """The colours `(H, W, 3)` of a picture in which each pixel is a block; AssertionError where it is not."""
    picture = np.array(
        Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))
    )
    small = picture[scale // 2 :: scale, scale // 2 :: scale]
    assert (small.repeat(scale, 0).repeat(scale, 1) == picture).all()
    return small


# ---------------------------------------------------------------------------------------------------- strokes and fills
@pytest.mark.parametrize("width", [1, 3, 5, 8])
def test_a_press_hides_a_square_of_the_brush(width):
    mask = utils.paint(ALL_KNOWN, [[0.51, 0.26]], width)
    rows, columns = (mask[0, 0] == 0).nonzero().unbind(dim=1)
    assert len(rows) == width**2
    assert rows.min() <= 8 <= rows.max()
    assert columns.min() <= 16 <= columns.max()
    assert torch.equal(mask, utils.paint(ALL_KNOWN, [[0.51, 0.26]] * 2, width))


@pytest.mark.parametrize("width", [1, 3, 5])
def test_a_stroke_has_no_gaps_however_far_apart_its_points_lie(width):
    stroke = np.random.default_rng(width).random((6, 2)).tolist()
    hole = utils.paint(ALL_KNOWN, stroke, width)[0, 0].numpy() == 0
    assert scipy.ndimage.label(hole, np.ones((3, 3)))[1] == 1
    for x, y in stroke:
        assert hole[int(32 * y), int(32 * x)]
    assert hole.sum() <= 6 * 32 * width * 1.5


def test_a_stroke_is_added_to_the_hole_and_makes_any_shape():
    first = utils.paint(ALL_KNOWN, [[0.1, 0.1], [0.9, 0.1]], 3)
    both = utils.paint(first, [[0.1, 0.9], [0.9, 0.9]], 1)
    assert torch.equal(both, first * utils.paint(ALL_KNOWN, [[0.1, 0.9], [0.9, 0.9]], 1))
    assert set(both.unique().tolist()) == {0, 1}
    assert both[0, 0, 10:20].all()


@pytest.mark.parametrize(
    ("stroke", "hidden"), [([[-3, 0.5], [0.1, 0.5]], 4), ([[1.1, 1.1], [9, 9]], 0)]
)
def test_what_is_painted_beside_the_photograph_hides_nothing(stroke, hidden):
    assert (utils.paint(ALL_KNOWN, stroke, 1) == 0).sum() == hidden


@pytest.mark.parametrize(
    ("point", "corner"), [([0.5, 0.5], (10, 10)), ([0, 1.2], (20, 0)), ([0.99, 0], (0, 20))]
)
def test_a_square_is_whole_and_the_only_hole(point, corner):
    before = utils.paint(ALL_KNOWN, STROKE, 5)
    mask = utils.paint(before, [[0.1, 0.1], point], 12)
    assert torch.equal(mask, utils.square_holes(torch.tensor([corner]), 12))


def test_known_pixels_are_the_photographs_bit_for_bit(photos):
    fills, image, mask, refused = ask(photos)
    assert torch.equal(image, photos.test[3:4])
    assert list(fills) == ["heat diffusion", "square only", "noise, sample 1"]
    for fill in fills.values():
        assert torch.equal(torch.where(mask > 0, fill, 0), torch.where(mask > 0, image / 255, 0))
        assert not torch.allclose(fill, image / 255, atol=0.01)
    assert list(refused) == ["square only"]
    assert "12x12" in refused["square only"]
    assert len(refused["square only"]) <= 130
    assert (fills["square only"][:, :, mask[0, 0] == 0] == 0.5).all()
    assert not ask(photos, strokes=[[STROKE, 12]])[3]


def test_a_filler_that_breaks_does_not_stop_the_others(photos):
    def broken(images, masks):
        return images[:, :, 99]

    asked = {"number": 0, "photo": "", "strokes": [[STROKE, 3]], "sample": 1}
    fills, _, _, refused = utils.fill_painted({"broken": broken} | FILLERS, photos.test, {}, asked)
    assert list(fills) == ["broken", *FILLERS]
    assert "99" in refused["broken"]


@pytest.mark.parametrize(
    ("strokes", "words"),
    [([], "Paint a hole"), ([[[[0, y / 8], [1, y / 8]], 8] for y in range(9)], "clear")],
)
def test_without_a_hole_and_without_known_pixels_it_says_what_to_do(photos, strokes, words):
    fills, _, mask, refused = ask(photos, strokes=strokes)
    assert mask.float().mean() == (not strokes)
    assert not fills
    assert words in refused[""]


def test_another_sample_is_another_fill_and_the_same_number_the_same_one(photos):
    first, second, again = (ask(photos, sample=sample)[0] for sample in (1, 2, 1))
    assert torch.equal(first["noise, sample 1"], again["noise, sample 1"])
    assert not torch.equal(first["noise, sample 1"], second["noise, sample 2"])
    assert torch.equal(first["heat diffusion"], second["heat diffusion"])


def test_a_photo_of_ones_own_is_read_as_every_photo_is(photos, tmp_path):
    path = tmp_path / "own.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 4), dtype=np.uint8)).save(
        path
    )
    fills, image, _, _ = ask(photos, photo=base64.b64encode(path.read_bytes()).decode())
    assert torch.equal(image, utils.read_photo(path))
    assert torch.equal(fills["heat diffusion"][..., 0, 0], image[..., 0, 0] / 255)


def test_pictures_show_blocks_and_the_hole_in_its_outline(photos):
    _, image, mask, _ = ask(photos)
    colours = image[0].movedim(0, -1).numpy()
    assert (pixels(utils.as_url(image / 255, ALL_KNOWN, 5), 5) == colours).all()
    drawn = utils.as_url(image / 255, mask, 12)
    drawn = np.array(Image.open(io.BytesIO(base64.b64decode(drawn.partition(",")[2]))))
    hole = (mask[0, 0] == 0).numpy().repeat(12, 0).repeat(12, 1)
    assert (drawn[~hole] == colours.repeat(12, 0).repeat(12, 1)[~hole]).all()
    edge = hole & ~scipy.ndimage.binary_erosion(hole, np.ones((3, 3)))
    assert (drawn[edge] == 0).all()
    assert set(np.unique(drawn[hole])) == {0, 110, 160, 255}


# ------------------------------------------------------------------------------------------------------------- the page
@pytest.fixture
def play(photos):
    """Runs the playground as a cell does: its one output, what it printed, and the page, if there is one."""
    InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))

    def run(**options):
        with capture_output() as captured:
            assert utils.playground(FILLERS, photos.test, **options) is None
        (output,) = captured.outputs
        page = None
        if WIDGET in output.data:
            from ipywidgets.widgets import widget

            page = widget._instances[output.data[WIDGET]["model_id"]]
        return SimpleNamespace(output=output, printed=captured.stdout + captured.stderr, page=page)

    yield run
    InteractiveShell.clear_instance()


def test_one_output_holds_the_page_and_the_still_picture(play):
    played = play(samplers=SAMPLERS)
    assert {WIDGET, "image/png"} <= set(played.output.data)
    alt = played.output.metadata["image/png"]["alt"]
    assert all(name in alt for name in ("heat diffusion", "square only", "noise, sample 1"))
    assert not played.printed
    assert played.page.shown["samples"]
    assert list(played.page.shown["fills"]) == [
        "heat diffusion",
        "square only",
        "noise, sample 1",
        "photograph",
    ]
    assert not play().page.shown["samples"]


def test_the_page_answers_what_is_asked(play, photos):
    page = play(samplers=SAMPLERS).page
    page.asked = page.asked | {"number": 5, "strokes": [[STROKE, 3]]}
    truth = photos.test[5].movedim(0, -1).numpy()
    assert (pixels(page.shown["fills"]["photograph"], 5) == truth).all()
    known = utils.paint(ALL_KNOWN, STROKE, 3)[0, 0].numpy() == 1
    filled = pixels(page.shown["fills"]["heat diffusion"], 5)
    assert (filled[known] == truth[known]).all()
    assert (filled[~known] != truth[~known]).any(axis=1).mean() > 0.9
    assert list(page.shown["fills"]) == [
        "heat diffusion",
        "square only",
        "noise, sample 1",
        "photograph",
    ]
    assert "12x12" in page.shown["fills"]["square only"]
    page.asked = page.asked | {"sample": 2}
    assert "noise, sample 2" in page.shown["fills"]


def test_without_anywidget_the_still_picture_says_what_is_missing(play, monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    played = play()
    assert "image/png" in played.output.data
    assert WIDGET not in played.output.data
    assert "%pip install anywidget" in played.printed


def test_in_colab_third_party_widgets_are_enabled(play, monkeypatch):
    from anywidget import _util

    colab = SimpleNamespace(enabled=0, _widgets=SimpleNamespace(_installed_url="manager.js"))
    colab.enable_custom_widget_manager = lambda: setattr(colab, "enabled", colab.enabled + 1)
    monkeypatch.setitem(sys.modules, "google.colab.output", colab)
    _util.enable_custom_widget_manager_once.cache_clear()
    metadata = play().output.metadata
    _util.enable_custom_widget_manager_once.cache_clear()
    assert colab.enabled == 1
    assert metadata[WIDGET]["colab"]["custom_widget_manager"]["url"] == "manager.js"
    assert metadata["image/png"]["alt"]


# --------------------------------------------------------------------------------------------------------- in a browser
CELL = """
import sys
sys.path.insert(0, "..")
import torch, utils
def refuse(images, masks):
    return utils.put_back(images.new_full((len(images), 3, 12, 12), 0.5), images, masks)
def draw_noise(generator, images, masks):
    return torch.rand(images.shape, generator=generator).to(images)
fillers = {"heat diffusion": utils.fill_heat, "square only": refuse}
utils.playground(fillers, utils.load_images("photos").test, {"noise": draw_noise})
"""


class Reader:
    """What a reader does with the playground, and sees of it."""

    def __init__(self, page):
        self.page, self.canvas = page, page.locator("canvas[role=img]")

    def drag(self, *points):
        """Press the mouse at the first of the points [x, y], in shares of the canvas, and move it through the rest."""
        self.canvas.scroll_into_view_if_needed()
        box = self.canvas.bounding_box()
        for i, (x, y) in enumerate(points):
            self.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if i == 0:
                self.page.mouse.down()

    def wait_for(self, name, picture=True):
        card = self.page.locator("figure").filter(has=self.page.get_by_text(name, exact=True))
        card.locator("img" if picture else "div").wait_for()
        return card

    def see(self, name):
        """The colours of a fill, `(32, 32, 3)`."""
        return pixels(self.wait_for(name).locator("img").get_attribute("src"), 5)

    def wait_until(self, condition):
        for _ in range(20 * PATIENCE):
            if condition():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"nothing came in {PATIENCE} seconds")


def test_a_reader_plays(open_notebook, jupyter_server, photos, tmp_path):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(CELL.strip())], metadata=kernel
    )
    nbformat.write(notebook, jupyter_server.folder / "notebooks" / "play.ipynb")
    page = open_notebook("play.ipynb")
    reader, truth = Reader(page), photos.test[0].movedim(0, -1).numpy()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.locator(".jp-CodeCell").click()
    page.keyboard.press("Control+Enter")
    reader.wait_for("noise, sample 1")
    assert not page.locator(".jp-RenderedImage").count(), "the still picture stands beside the page"
    page.screenshot(path=tmp_path / "1.png")

    # A stroke, which is seen while the mouse is down.
    page.get_by_role("button", name="clear").click()
    page.get_by_text("Paint a hole.").wait_for()
    reader.drag([0.2, 0.3], [0.7, 0.5], [0.4, 0.8])
    look = "canvas => [...canvas.getContext('2d').getImageData(0.45 * 384, 0.4 * 384, 1, 1).data]"
    assert reader.canvas.evaluate(look) == [136, 136, 136, 255]
    page.mouse.up()
    assert "12x12" in reader.wait_for("square only", picture=False).inner_text()
    filled, known = (
        reader.see("heat diffusion"),
        utils.paint(ALL_KNOWN, STROKE, 3)[0, 0].numpy() == 1,
    )
    assert (filled[known] == truth[known]).all()
    assert (filled[~known] != truth[~known]).any(axis=1).mean() > 0.9
    page.screenshot(path=tmp_path / "2.png")

    # Another sample, in the same hole.
    first = reader.see("noise, sample 1")
    page.get_by_role("button", name="another sample").click()
    second = reader.see("noise, sample 2")
    assert (first[known] == second[known]).all()
    assert (first[~known] != second[~known]).any(axis=1).mean() > 0.9

    # A square in its place, for the filler that refused.
    page.get_by_label("brush").select_option("square of 12x12 pixels")
    reader.drag([0.3, 0.3])
    page.mouse.up()
    reader.wait_for("square only")
    hidden = (reader.see("square only") != truth).any(axis=2).nonzero()
    assert [(axis.min(), axis.max()) for axis in hidden] == [(3, 14), (3, 14)]

    # Files: one that is none, one of more bytes than JupyterLab lets through, one whose pixels are known.
    file = page.get_by_label("photo of your own")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    file.set_input_files(tmp_path / "broken.jpg")
    page.get_by_role("alert").get_by_text("broken.jpg cannot be read as an image").wait_for()
    noise = np.random.default_rng(0).integers(0, 256, (2200, 2200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png", compress_level=0)
    assert (tmp_path / "large.png").stat().st_size > 13e6
    file.set_input_files(tmp_path / "large.png")
    reader.wait_until(lambda: np.abs(reader.see("photograph") - 127.5).max() < 20)
    assert not page.get_by_role("alert").inner_text()
    Image.new("RGB", (50, 40), "lime").save(tmp_path / "lime.png")
    file.set_input_files(tmp_path / "lime.png")
    reader.wait_until(lambda: (reader.see("heat diffusion") == (0, 255, 0)).all())
    page.screenshot(path=tmp_path / "3.png")

    # Back to a test image, by its number; JupyterLab's own 5, which makes a heading of a cell, is not heard.
    page.get_by_label("image").first.select_text()
    page.keyboard.press("5")
    reader.wait_until(
        lambda: (reader.see("photograph") == photos.test[5].movedim(0, -1).numpy()).all()
    )
    assert not page.locator(".jp-MarkdownCell").count()
