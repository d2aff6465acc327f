"""The playground: what is painted is filled, in a kernel and in a real browser."""

import base64
import io

import nbformat
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from PIL import Image

import utils
from playground import as_url, fill_painted, playground

HOLE = "".join("1" if 300 < i < 420 else "0" for i in range(32 * 32))


def refuse(images, masks):
    """A filler for one 12x12 square alone."""
    return utils.put_back(images.new_full((len(images), 3, 12, 12), 0.5), images, masks)


def draw_noise(generator, images, masks):
    return torch.rand(images.shape, generator=generator).to(images)


def ask(photos, **asked):
    asked = {"number": 3, "photo": "", "hole": HOLE, "sample": 1} | asked
    fillers, samplers = {"heat": utils.fill_heat, "square": refuse}, {"noise": draw_noise}
    return fill_painted(fillers, photos.test, samplers, asked)


def test_what_is_painted_is_filled_and_a_refusal_told(photos):
    image, mask, fills, refused = ask(photos)
    assert torch.equal(image, photos.test[3:4])
    assert (mask.flatten() == 0).tolist() == [x == "1" for x in HOLE]
    assert torch.equal(fills["heat"], utils.fill_images(utils.fill_heat, image, mask))
    assert "fit one hole of 12x12" in refused["square"]
    again, other = (ask(photos, sample=number)[2] for number in (1, 2))
    assert torch.equal(fills["noise, sample 1"], again["noise, sample 1"])
    assert not torch.equal(fills["noise, sample 1"], other["noise, sample 2"])
    for hole, told in (("0", "Paint a hole."), ("1", "Nothing is known any more: clear it.")):
        assert ask(photos, hole=32 * 32 * hole)[2:] == ({}, {"": told})


def test_a_photo_of_ones_own_is_filled_and_pictures_are_sent_as_they_are(photos):
    Image.new("RGB", (90, 60), "red").save(file := io.BytesIO(), "png")
    image, *_ = ask(photos, photo=base64.b64encode(file.getvalue()).decode())
    assert image[0, :, 4, 4].tolist() == [255, 0, 0]
    sent = base64.b64decode(as_url(photos.test[:1] / 255).partition(",")[2])
    assert torch.equal(utils.read_photo(io.BytesIO(sent)), photos.test[0])


def test_a_still_picture_stands_where_there_is_no_kernel(photos):
    InteractiveShell.instance()
    with capture_output() as shown:
        playground({"heat": utils.fill_heat}, photos.test)
    (output,) = shown.outputs
    assert {"image/png", "application/vnd.jupyter.widget-view+json"} <= set(output.data)
    assert "filled by heat" in output.metadata["image/png"]["alt"]


def test_a_reader_paints_in_a_browser(open_notebook, jupyter_server):
    source = (
        "import sys; sys.path.insert(0, '..')\nimport utils\nfrom playground import playground\n"
        "playground({'heat': utils.fill_heat}, utils.load_images().test)"
    )
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(source)]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, jupyter_server[1] / "notebooks" / "play.ipynb")
    page = open_notebook("play.ipynb")
    page.locator("[data-command='notebook:restart-run-all']").first.click()
    page.locator(".jp-Dialog .jp-mod-accept").click()
    canvas, heat = page.get_by_label("Paint a hole here."), page.get_by_alt_text("heat")
    heat.wait_for()
    before = heat.get_attribute("src")
    page.get_by_role("button", name="clear").click()
    page.get_by_text("Paint a hole.", exact=True).wait_for()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 120, steps=4)
    page.mouse.up()
    heat.wait_for()
    assert heat.get_attribute("src") not in ("", before)
    page.screenshot(path=jupyter_server[1] / "play.png")
