"""The playground: paint a hole with the mouse, and see it filled. The page is playground.js."""

import base64
import functools
import io
import textwrap
from collections.abc import Callable
from pathlib import Path

import torch
from anywidget import AnyWidget
from IPython import display
from IPython.utils.capture import capture_output
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from traitlets import Dict

import report
import utils


class Page(AnyWidget):
    """What the page asks for, and what it is shown; playground.js says what is in them."""

    _esm = Path(__file__).with_suffix(".js")
    asked, shown = Dict().tag(sync=True), Dict().tag(sync=True)


def playground(
    fillers: dict[str, Callable], images: Tensor, samplers: dict[str, Callable] | None = None
) -> None:
    """Show a page that fills what is painted on one of the `uint8` images `(N, 3, 32, 32)`, or on a
    photo of one's own: by `fillers`, and by `samplers`, which take a generator before images and
    masks. Without a kernel a still picture stands there.
    """
    samplers, square = samplers or {}, utils.square_holes(torch.tensor([[10, 10]]), 12)
    hole = "".join("1" if x == 0 else "0" for x in square.flatten().tolist())
    page = Page(asked={"number": 0, "photo": "", "hole": hole, "sample": 1})

    def answer(*change: object) -> tuple[Tensor, Tensor, dict]:
        image, mask, fills, refused = fill_painted(fillers, images, samplers, page.asked)
        sent = {name: as_url(fill) for name, fill in fills.items()} | refused
        about = {"count": len(images), "samples": bool(samplers)}
        page.shown = about | {"photo": as_url(image / 255), "fills": sent}
        return image, mask, fills

    image, mask, fills = answer()
    page.observe(answer, "asked")
    with capture_output(stdout=False, stderr=False) as still:
        report.show_fills(fills, image, mask, "Run the notebook, and paint the hole yourself")
    # One output for both: where the page cannot be shown, the picture is.
    (data, about), picture = page._repr_mimebundle_(), still.outputs[0]
    display.display(data | picture.data, metadata=about | picture.metadata, raw=True)


def fill_painted(fillers: dict, images: Tensor, samplers: dict, asked: dict) -> tuple:
    """The image and the mask that are asked for, the composites by name, and by name in words why
    there is none.
    """
    image, fills, refused = images[asked["number"], None], {}, {}
    if asked["photo"]:
        image = utils.read_photo(io.BytesIO(base64.b64decode(asked["photo"])))[None]
    mask = torch.tensor([float(x == "0") for x in asked["hole"]]).view(1, 1, *image.shape[2:])
    if mask.all() or not mask.any():
        told = "Paint a hole." if mask.all() else "Nothing is known any more: clear it."
        return image, mask, {}, {"": told}
    number, generator = asked["sample"], torch.Generator("cpu")
    for name, sampler in samplers.items():
        fillers = fillers | {f"{name}, sample {number}": functools.partial(sampler, generator)}
    for name, filler in fillers.items():
        generator.manual_seed(number)
        try:
            fills[name] = utils.fill_images(filler, image, mask)
        except Exception as error:  # nobody would see what is raised in answer to a page
            refused[name] = textwrap.shorten(str(error), 130)
    return image, mask, fills, refused


def as_url(image: Tensor) -> str:
    """The address of a PNG of an image `(1, 3, H, W)` in [0, 1]."""
    file = io.BytesIO()
    to_pil_image((255 * image[0]).round().byte()).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
