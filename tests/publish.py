"""What `make notebooks` does last: `python tests/publish.py FOLDER` puts notebooks executed there,
and what that run made, into the places that git tracks, and the results into the README.
"""

import shutil
import sys
from pathlib import Path

import nbformat
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
# By name: a reader may keep notebooks of their own beside them.
NAMES = "1_direct_convolution", "2_autoencoder", "3_cvae"
NOTEBOOKS = [ROOT / "notebooks" / f"{name}.ipynb" for name in NAMES]
SCORES = {"crps": ".4f", "loglik": ".0f", "critic": ".0%", "coverage": ".0%", "sharpness": ".2f"}
HEADS = ["filler", "trained on", "center 14x14", "random 12x12", "irregular"]
HEADS += ["CRPS", "nats", "critic", "coverage", "sharpness", "training"]


def is_live(output: nbformat.NotebookNode) -> bool:
    """Whether an output says something only beside a running kernel: progress, bare controls."""
    bar = output.get("name") == "stderr" and "%|" in output.text and "Warning" not in output.text
    bare = output.output_type == "display_data" and set(output.get("data", {})) == {"text/plain"}
    return bar or bare


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Of the metadata only the kernel and the cells' tags; what a cell printed as one output."""
    kept = {key: notebook.metadata[key] for key in {"kernelspec"} & set(notebook.metadata)}
    notebook.metadata = kept | {"language_info": {"name": "python"}}
    for cell in notebook.cells:
        tags, outputs = cell.metadata.get("tags"), []
        cell.metadata = {"tags": tags} if tags else {}
        for output in cell.get("outputs", []):
            for kind in [kind for kind in output.get("data", {}) if "widget" in kind]:
                del output.data[kind]  # a still picture may be beside it
                output.metadata.pop(kind, None)
            if outputs and output.get("name") == outputs[-1].get("name") == "stdout":
                outputs[-1].text += output.text
            elif not is_live(output):
                outputs.append(output)
        if cell.cell_type == "code":
            cell.outputs = outputs
    return notebook


def results_table(table: pd.DataFrame) -> str:
    """A row for each filler and training, in Markdown: hole PSNR with its interval, and scores of random holes."""
    data = ", ".join(table.dataset.unique())
    caption = f"Hole PSNR in dB on the test images of {data}, by kind of hole, with 95 % intervals over images;"
    caption += " other scores are of random holes."
    rows = [caption, "", f"| {' | '.join(HEADS)} |", f"|{' --- |' * len(HEADS)}"]
    for (model, trained_on), some in table.groupby(["model", "trained_on"], sort=False):
        some = some.set_index("hole")
        spans = {x.Index: f"{x.psnr:.2f} [{x.psnr_low:.2f}, {x.psnr_high:.2f}]" for x in some.itertuples()}
        cells = [model, trained_on, *(spans.get(hole, "") for hole in ("center", "random", "irregular"))]
        row = some.loc["random"]
        cells += [f"{row[x]:{form}}" if pd.notna(row[x]) else "" for x, form in SCORES.items()]
        minutes = f"{row.epochs:.0f} epochs, {row.seconds / 60:.0f} min" if pd.notna(row.epochs) else ""
        rows.append(f"| {' | '.join([*cells, minutes])} |")
    return "\n".join(rows)


def with_results(readme: str) -> str:
    """The README with what was measured between its marks."""
    table = pd.read_csv(ROOT / "data" / "results.csv").fillna({"trained_on": ""})
    before, rest = readme.split("<!-- results -->")
    after = rest.split("<!-- end of results -->")[1]
    return f"{before}<!-- results -->\n{results_table(table)}\n<!-- end of results -->{after}"


def main(folder: Path) -> None:
    """Put all in its place."""
    sys.path.insert(0, str(ROOT))
    import utils

    run = utils.run_folder(utils.load_images())
    tables = [pd.read_csv(run / f"{name}.csv", dtype={"images": str}) for name in NAMES]
    pd.concat(tables).convert_dtypes().to_csv(ROOT / "data" / "results.csv", index=False)
    for path in run.glob("*.npz"):
        shutil.copy(path, ROOT / "data")
    for path in run.glob("networks/*.safetensors"):
        shutil.copy(path, ROOT / "data" / "networks")
    for path in (utils.OUTPUT / "readme_image").glob("*.png"):
        shutil.copy(path, ROOT / "readme_image")
    for path in NOTEBOOKS:
        nbformat.write(clean(nbformat.read(folder / path.name, as_version=4)), path)
    README.write_text(with_results(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
