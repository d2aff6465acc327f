"""What `make notebooks` does last: `python tests/publish.py build/full` puts the notebooks that were executed there,
without the traces of the tool that ran them, into notebooks/, and the table of results into the README.
"""

import base64
import io
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def shrink(png: str) -> str:
    """The same picture, pixel by pixel, in as few bytes as the library can: notebooks stay below 1 MB."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        picture.save(smaller := io.BytesIO(), "png", optimize=True)
    return base64.b64encode(smaller.getvalue()).decode()


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Of the metadata only the kernel and the cells' tags; what a cell printed line by line as one output."""
    kept = {name: notebook.metadata[name] for name in ("kernelspec", "language_info")}
    notebook.metadata = kept | {"language_info": {"name": "python"}}
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
        outputs = []
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = shrink(output.data["image/png"])
            if outputs and output.get("name") == outputs[-1].get("name") == "stdout":
                outputs[-1].text += output.text
            elif output.output_type != "display_data" or set(output.data) != {"text/plain"}:  # not the live progress
                outputs.append(output)
        if cell.cell_type == "code":
            cell.outputs = outputs
    return notebook


def results_table() -> str:
    """One row a model and training, in Markdown: PSNR in dB with its 95 % interval, by kind of hole, and the CRPS."""
    table = pd.read_csv(ROOT / "data" / "results.csv").fillna({"trained_on": ""})
    table = table.drop_duplicates(["model", "trained_on", "hole"])  # baselines of several notebooks, further seeds
    table["psnr"] = [f"{r.psnr:.2f} [{r.psnr_low:.2f}, {r.psnr_high:.2f}]" for r in table.itertuples()]
    data = ", ".join(table.dataset.unique())
    lines = [
        f"Hole PSNR in dB on the test images of {data}, by kind of hole, with 95 % intervals over images.",
        "",
        "| filler | trained on | center 14x14 | random 12x12 | irregular | CRPS, random | sharpness | training |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (model, trained_on), rows in table.groupby(["model", "trained_on"], sort=False):
        by_hole, first = rows.set_index("hole"), rows.iloc[0]
        psnr = by_hole.psnr.reindex(["center", "random", "irregular"], fill_value="")
        trained = not np.isnan(first.seconds)
        training = f"{first.epochs:.0f} epochs, {first.seconds / 60:.0f} min, {first.device}" if trained else ""
        crps, sharpness = (by_hole[figure].get("random", np.nan) for figure in ("crps", "sharpness"))
        cells = [model, trained_on, *psnr, f"{crps:.4f}", f"{sharpness:.2f}", training]
        cells = [cell.replace("nan", "") for cell in cells]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def with_table(readme: str) -> str:
    """The README with this table between its two marks."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{results_table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        nbformat.write(clean(nbformat.read(Path(sys.argv[1]) / path.name, as_version=4)), path)
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
