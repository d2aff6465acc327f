"""Where tests get notebooks, and the networks and losses that they define, so that no network exists twice."""

import ast
import linecache
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
    """What a notebook's first cell imports and its cells tagged `define` define, of the module `__main__` as in a
    kernel, with its source where `inspect` looks for it.
    """
    namespace = {"__name__": "__main__"}
    for i, cell in enumerate(code_cells(FOLDER / f"{name}.ipynb")):
        if i and "define" not in cell.metadata.get("tags", []):
            continue
        parsed = ast.parse(cell.source)
        if not i:
            imports = ast.Import | ast.ImportFrom | ast.Try
            parsed.body = [node for node in parsed.body if isinstance(node, imports)]
        file = f"<{name}, code cell {i + 1}>"
        linecache.cache[file] = (
            len(cell.source),
            None,
            cell.source.splitlines(keepends=True),
            file,
        )
        exec(compile(parsed, file, "exec"), namespace)
    return SimpleNamespace(**namespace)
