"""Where tests get notebooks, and the networks and losses that they define: none exists twice."""

import ast
from types import SimpleNamespace

import nbformat
import torch

import publish


def code_cells(path) -> list[nbformat.NotebookNode]:
    """The code cells of a notebook, in order."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def load_definitions(name: str) -> SimpleNamespace:
    """What a notebook's first cell imports and its cells tagged `define` define, as in a kernel."""
    namespace = {"__name__": "__main__"}
    for i, cell in enumerate(code_cells(publish.ROOT / "notebooks" / f"{name}.ipynb")):
        if i == 0:
            imports = ast.parse(cell.source)
            kinds = ast.Import | ast.ImportFrom
            imports.body = [node for node in imports.body if isinstance(node, kinds)]
            exec(compile(imports, name, "exec"), namespace)
        elif "define" in cell.metadata.get("tags", []):
            exec(cell.source, namespace)
    return SimpleNamespace(**namespace)


def generator(seed: int = 0) -> torch.Generator:
    """A generator of the CPU with a fixed seed."""
    return torch.Generator().manual_seed(seed)
