"""What `make notebooks` does last: `python tests/publish.py build/full` puts the notebooks that were executed there,
without the traces of the tool that ran them, into notebooks/, and what they measured into the README.
"""

import base64
import io
import struct
import sys
import textwrap
import zlib
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
# By name: a reader may keep notebooks of their own beside them.
EVERY_KIND = "center, random and scribbled"  # holes that the networks for every hole are trained on
NOTEBOOKS = [ROOT / "notebooks" / f"{name}.ipynb" for name in ("1_direct_convolution", "2_autoencoder", "3_cvae")]


def is_live(output: nbformat.NotebookNode) -> bool:
    """Whether an output says something only beside a running kernel: the progress of a training, and bare controls."""
    bar = output.get("name") == "stderr" and "%|" in output.text and "Warning" not in output.text
    return bar or (output.output_type == "display_data" and set(output.get("data", {})) == {"text/plain"})


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Of the metadata only the kernel and the cells' tags; what a cell printed line by line as one output."""
    kernel = {"kernelspec": notebook.metadata.kernelspec} if "kernelspec" in notebook.metadata else {}
    notebook.metadata = kernel | {"language_info": {"name": "python"}}
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
        outputs = []
        for output in cell.get("outputs", []):
            for kind in [kind for kind in output.get("data", {}) if "widget" in kind]:  # a still picture may be beside
                del output.data[kind]
                output.metadata.pop(kind, None)
            if outputs and output.get("name") == outputs[-1].get("name") == "stdout":
                outputs[-1].text += output.text
            elif not is_live(output):
                outputs.append(output)
        if cell.cell_type == "code":
            cell.outputs = outputs
    return notebook


def shrink(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The same pictures, pixel by pixel, in fewer bytes: notebooks stay below 1 MB."""
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        if png := output.get("data", {}).get("image/png"):
            output.data["image/png"] = base64.b64encode(shrink_png(base64.b64decode(png))).decode()
    return notebook


def shrink_png(png: bytes) -> bytes:
    """The same pixels in the fewest bytes that Pillow gives."""
    with Image.open(io.BytesIO(png)) as picture:
        written = [png, save_png(picture, optimize=True)]
        if picture.mode == "P" and "transparency" not in picture.info:
            written.append(save_filtered(picture))
    return min(written, key=len)


def save_png(picture: Image.Image, **options: object) -> bytes:
    """The bytes of a PNG file."""
    picture.save(file := io.BytesIO(), "png", **options)
    return file.getvalue()


def save_filtered(picture: Image.Image) -> bytes:
    """A picture with a palette as PNG. Pillow filters the rows of grey pictures only, which saves a tenth: so it gets
    the numbers of the colours as shades of grey, the dark ones first, and the palette is put into the file after it.
    """
    brightness = np.array(picture.getpalette()).reshape(-1, 3).sum(axis=1)
    picture = picture.remap_palette(brightness.argsort(kind="stable").tolist())
    png = save_png(Image.frombytes("L", picture.size, picture.tobytes()), compress_level=9)
    header = png[12:25] + b"\x03" + png[26:29]  # its colour type: by palette
    blocks = [header, b"PLTE" + bytes(picture.getpalette())]
    packed = [struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block)) for block in blocks]
    return png[:8] + b"".join(packed) + png[33:]


def read_table() -> pd.DataFrame:
    """The results, once each: without the baselines of later notebooks and further seeds."""
    table = pd.read_csv(ROOT / "data" / "results.csv").fillna({"trained_on": ""})
    return table.drop_duplicates(["model", "trained_on", "hole"])


def results_table() -> str:
    """One row a model and training, in Markdown: PSNR in dB with its 95 % interval by kind of hole, more scores."""
    table = read_table()
    table["psnr"] = [f"{r.psnr:.2f} [{r.psnr_low:.2f}, {r.psnr_high:.2f}]" for r in table.itertuples()]
    data = ", ".join(table.dataset.unique())
    lines = [
        f"Hole PSNR in dB on the test images of {data}, by kind of hole, with 95 % intervals over images; other "
        "scores are of random holes.",
        "",
        "| filler | trained on | center 14x14 | random 12x12 | irregular | CRPS | nats | critic | coverage "
        "| sharpness | training |",
        f"|{11 * ' --- |'}",
    ]
    for (model, trained_on), rows in table.groupby(["model", "trained_on"], sort=False):
        by_hole, first = rows.set_index("hole"), rows.iloc[0]
        psnr = by_hole.psnr.reindex(["center", "random", "irregular"], fill_value="")
        trained = not np.isnan(first.seconds)
        training = f"{first.epochs:.0f} epochs, {first.seconds / 60:.0f} min, {first.device}" if trained else ""
        formats = {"crps": ".4f", "loglik": ".0f", "critic": ".0%", "coverage": ".0%", "sharpness": ".2f"}
        figures = [f"{by_hole[figure].get('random', np.nan):{form}}" for figure, form in formats.items()]
        cells = [model, trained_on, *psnr, *figures, training]
        cells = [cell.replace("nan%", "").replace("nan", "") for cell in cells]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def measured() -> dict[str, str]:
    """What the README says that each notebook measured, and how long the stored runs took."""
    rows = {(r.model, r.trained_on, r.hole): r for r in read_table().itertuples()}
    heat, stroke = rows["heat diffusion", "", "random"], rows["direct convolution", "random", "irregular"]
    direct, center = (rows["direct convolution", kind, kind] for kind in ("random", "center"))
    mended, biharmonic = rows["direct convolution", "scribbled", "irregular"], rows["biharmonic", "", "irregular"]
    whole = rows["autoencoder, whole image", "random", "random"]
    every = {hole: rows["autoencoder, whole image", EVERY_KIND, hole] for hole in ("random", "center", "irregular")}
    part, rim = (rows[f"autoencoder, missing part{name}", "random", "random"] for name in ("", " with rim"))
    part_cvae, strokes = (
        rows["CVAE, missing part", "random", "random"],
        rows["CVAE, whole image", EVERY_KIND, "irregular"],
    )
    whole_cvae = rows["CVAE, whole image", EVERY_KIND, "random"]
    noise = rows["autoencoder + correlated noise", "random", "random"]
    kept = [np.load(ROOT / "data" / f"{path.stem}.npz") for path in NOTEBOOKS]
    minutes, machine = [f"{arrays['minutes'].sum():.0f}" for arrays in kept], kept[-1]["machine"]
    told = {
        "measured 1": f"""Measured, hole PSNR on test images: random holes {direct.psnr:.2f} dB (heat diffusion
            {heat.psnr:.2f}), the center hole {center.psnr:.2f} dB ({rows["heat diffusion", "", "center"].psnr:.2f}),
            brush strokes {stroke.psnr:.2f} dB, where the biharmonic filler has {biharmonic.psnr:.2f}; trained on with
            scribbled holes {mended.psnr:.2f}.""",
        "measured 2": f"""Measured, hole PSNR on test images with random holes: whole image {whole.psnr:.2f} dB,
            missing part {part.psnr:.2f}, missing part with a rim {rim.psnr:.2f}; notebook 1's network
            {direct.psnr:.2f}. The whole image trained for holes of every shape: random {every["random"].psnr:.2f},
            center {every["center"].psnr:.2f}, brush strokes, which it never saw, {every["irregular"].psnr:.2f}
            (biharmonic {biharmonic.psnr:.2f}). Sharpness, the gradients in the hole over the photograph's:
            {rim.sharpness:.2f} with the rim; notebook 1's network {direct.sharpness:.2f}.""",
        "measured 3": f"""Measured on test images with random holes. CRPS, the lower the better: missing part
            {part_cvae.crps:.4f}, whole image {whole_cvae.crps:.4f}; correlated noise added to notebook 2's answer
            {noise.crps:.4f}. The CVAEs are *trained* on the CRPS, so three more scores stand beside it,
            in the same order. Likelihood of the truth, of which their loss has a bound: {part_cvae.loglik:.0f},
            {whole_cvae.loglik:.0f} and {noise.loglik:.0f} nats an image. How often
            a critic tells a fill from the photograph: {100 * part_cvae.critic:.0f}, {100 * whole_cvae.critic:.0f} and
            {100 * noise.critic:.0f} %. How often the truth lies within the middle 80 % of the samples:
            {100 * part_cvae.coverage:.0f}, {100 * whole_cvae.coverage:.0f} and {100 * noise.coverage:.0f} %. The whole
            image on brush strokes: its samples' mean has {strokes.psnr_mean:.2f} dB.""",
        "minutes": f"The stored runs took {', '.join(minutes[:-1])} and {minutes[-1]} minutes, on {machine}.",
    }
    return {name: textwrap.fill(" ".join(text.split()), 120) for name, text in told.items()} | {
        "results": results_table()
    }


def with_results(readme: str) -> str:
    """The README with what was measured between each pair of marks."""
    for name, text in measured().items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, rest = readme.split(begin)
        readme = f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}"
    return readme


if __name__ == "__main__":
    for path in NOTEBOOKS:
        nbformat.write(shrink(clean(nbformat.read(Path(sys.argv[1]) / path.name, as_version=4))), path)
    README.write_text(with_results(README.read_text(encoding="utf-8")), encoding="utf-8")
