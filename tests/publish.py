"""What `make notebooks` does last: `python tests/publish.py FOLDER` puts the notebooks executed there,
and what that run made, into the places that git tracks, and the results into the README.
"""

import shutil
import sys
import textwrap
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
    kernel = {"kernelspec": notebook.metadata.get("kernelspec", {})}
    notebook.metadata = kernel | {"language_info": {"name": "python"}}
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
    """One row a filler and training, in Markdown: PSNR in dB with its 95 % interval by kind of hole,
    and scores of random holes.
    """
    names = {name for name in table.dataset}
    rows = [
        f"Hole PSNR in dB on the test images of {', '.join(names)}, by kind of hole, with 95 % "
        "intervals over images; other scores are of random holes.",
        "",
        f"| {' | '.join(HEADS)} |",
        f"|{' --- |' * len(HEADS)}",
    ]
    for (model, trained_on), some in table.groupby(["model", "trained_on"], sort=False):
        some, cells = some.set_index("hole"), [model, trained_on]
        for hole in ("center", "random", "irregular"):
            if hole in some.index:
                psnr, low, high = some.loc[hole, ["psnr", "psnr_low", "psnr_high"]]
                cells.append(f"{psnr:.2f} [{low:.2f}, {high:.2f}]")
            else:
                cells.append("")
        row = some.loc["random"]
        cells += [f"{row[x]:{form}}" if pd.notna(row[x]) else "" for x, form in SCORES.items()]
        trained = pd.notna(row.epochs)
        minutes = f"{row.epochs:.0f} epochs, {row.seconds / 60:.0f} min" if trained else ""
        rows.append(f"| {' | '.join([*cells, minutes])} |")
    return "\n".join(rows)


def training_minutes() -> str:
    """How long the stored trainings of each notebook took, and on what machine."""
    import utils

    minutes, machines = dict.fromkeys("123", 0.0), set()
    for path in sorted((ROOT / "data" / "networks").glob("*.safetensors")):
        about, _ = utils.load(path)
        if "log" in about:
            minutes[path.name[0]] += about["log"]["seconds"][-1] / 60
            machines.add(about["machine"])
    first, second, third = (f"{x:.0f}" for x in minutes.values())
    told = f"The stored trainings took {first}, {second} and {third} minutes, on"
    return textwrap.fill(f"{told} {' and '.join(sorted(machines))}.", 120)


def with_results(readme: str) -> str:
    """The README with what was measured between each pair of marks."""
    table = pd.read_csv(ROOT / "data" / "results.csv").fillna({"trained_on": ""})
    for name, text in {"minutes": training_minutes(), "results": results_table(table)}.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, rest = readme.split(begin)
        readme = f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}"
    return readme


def main(folder: Path) -> None:
    """Put all in its place."""
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
