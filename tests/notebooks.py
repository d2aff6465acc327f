"""Where tests get notebooks, and the networks and losses that they define, so that no network exists twice."""

from pathlib import Path
from types import SimpleNamespace

import nbformat

import utils

FOLDER = utils.ROOT / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    """The code cells of a notebook, in order."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def load_definitions(name: str) -> SimpleNamespace:
    """What a notebook's import cell, its first, and its cells tagged `define` define."""
    first, *rest = code_cells(FOLDER / f"{name}.ipynb")
    namespace = {}
    for cell in [first, *(cell for cell in rest if "define" in cell.metadata.get("tags", []))]:
        exec(compile(cell.source, f"{name}.ipynb", "exec"), namespace)
    return SimpleNamespace(**namespace)
