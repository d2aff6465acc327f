"""Execute notebooks, for `make run` and `make notebooks`: `python tests/run.py FOLDER NAME ...` writes
NAME.ipynb as executed, and a page NAME.html, into FOLDER, and tells on the way what cells print.
"""

import sys
from pathlib import Path

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm import tqdm
from traitlets.config import Config

import pages

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


class Client(NotebookClient):
    """Executes a notebook, and shows on a bar what its cells print, when they do."""

    bar = None

    def process_message(self, message, cell, index):
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            self.bar.write(content["text"].rstrip())
        if message["msg_type"] == "stream" and "%|" in content["text"]:  # a training's own bar
            self.bar.set_postfix_str(content["text"].split("|")[-1].strip())
        return super().process_message(message, cell, index)


def choose_transport() -> Config:
    """The kernel's messages encrypted, or else by sockets of this machine alone: ipykernel warns of
    anything else at each start.
    """
    if "transport_encryption" in KernelManager.class_trait_names():
        return Config({"KernelManager": {"transport_encryption": "auto"}})
    return Config({"KernelManager": {"transport": "tcp" if sys.platform == "win32" else "ipc"}})


def execute(name: str, folder: Path) -> None:
    """Execute a notebook; what of it was executed is written even where a cell fails."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    options = {"resources": {"metadata": {"path": str(NOTEBOOKS)}}, "timeout": None}
    client = Client(notebook, kernel_name="python3", config=choose_transport(), **options)
    client.on_cell_executed = lambda cell, cell_index, execute_reply: client.bar.update()
    with tqdm(total=len(cells), desc=name, unit="cell") as client.bar:
        try:
            client.execute()
        finally:
            nbformat.write(notebook, folder / f"{name}.ipynb")
    pages.write_page(folder / f"{name}.ipynb")


if __name__ == "__main__":
    output = Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    for notebook_name in sys.argv[2:]:
        try:
            execute(notebook_name, output)
        except CellExecutionError as error:
            sys.exit(f"{notebook_name} stopped; see {output / notebook_name}.ipynb.\n{error}")
