"""What several tests need of notebooks and of chance."""

import nbformat
import torch


def code_cells(path) -> list[nbformat.NotebookNode]:
    """The code cells of a notebook, in order."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def generator(seed: int = 0) -> torch.Generator:
    """A generator of the CPU with a fixed seed."""
    return torch.Generator().manual_seed(seed)
