"""Writes the README's table of results from data/results.csv: `python tests/readme.py`, which `make notebooks` runs."""

from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def results_table() -> str:
    """One row a model and training, in Markdown; PSNR in dB with its 95 % interval, by kind of hole."""
    table = pd.read_csv(ROOT / "data" / "results.csv").fillna({"trained_on": ""})
    data = ", ".join(table.dataset.unique())
    lines = [
        f"Hole PSNR in dB on the test images of {data}, by kind of hole, with 95 % intervals over images.",
        "",
        "| filler | trained on | center 14x14 | random 12x12 | irregular | sharpness, random | training |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (model, trained_on), rows in table.groupby(["model", "trained_on"], sort=False):
        rows = rows.set_index("hole")
        psnr = [
            f"{r.psnr:.2f} [{r.psnr_low:.2f}, {r.psnr_high:.2f}]" if kind in rows.index else ""
            for kind in ("center", "random", "irregular")
            for r in [rows.loc[kind] if kind in rows.index else None]
        ]
        first = rows.iloc[0]
        training = f"{first.epochs:.0f} epochs, {first.seconds / 60:.0f} min on {first.device}" if trained_on else ""
        cells = [model, trained_on, *psnr, f"{rows.sharpness['random']:.2f}", training]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def with_table(readme: str) -> str:
    """The README with this table between its two marks."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{results_table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
