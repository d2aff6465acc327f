"""Where tests get notebooks, and the networks and losses that they define, so that no network exists twice."""

import ast
from pathlib import Path
from types import SimpleNamespace

import nbformat

import publish

PATHS = publish.NOTEBOOKS
FOLDER = PATHS[0].parent


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    """The code cells of a notebook, in order."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def load_definitions(name: str) -> SimpleNamespace:
    """What a notebook's first cell imports and its cells tagged `define` define."""
    first, *rest = code_cells(FOLDER / f"{name}.ipynb")
    imports = [node for node in ast.parse(first.source).body if isinstance(node, ast.Import | ast.ImportFrom | ast.Try)]
    defined = [ast.parse(cell.source) for cell in rest if "define" in cell.metadata.get("tags", [])]
    namespace = {}
    for part in [ast.Module(imports, type_ignores=[]), *defined]:
        exec(compile(part, f"{name}.ipynb", "exec"), namespace)
    return SimpleNamespace(**namespace)
