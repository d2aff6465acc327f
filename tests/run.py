"""Execute notebooks, as `make run` does: `python tests/run.py FOLDER NAME ...` writes NAME.ipynb as
executed, and a page NAME.html, into FOLDER, and tells on the way what cells print.
"""

import sys
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter
from tqdm import tqdm
from traitlets.config import Config

import publish

NOTEBOOKS = publish.ROOT / "notebooks"
# nbconvert's own page, with alternative texts, which it leaves out, and room on a telephone.
PAGE = """
{%- extends "lab/index.html.j2" -%}
{%- block html_head_css -%}
{{ super() }}
<style>
  main { max-width: 66rem; margin: auto; }
  .jp-RenderedHTMLCommon, mjx-container, .MathJax_Display { overflow: auto hidden; max-width: 100%; }
  .jp-RenderedHTMLCommon img, .jp-RenderedImage img { max-width: 100%; height: auto; }
  @media (max-width: 50rem) {
    body.jp-Notebook, .jp-Cell { padding: 0.3rem; }
    .jp-InputPrompt, .jp-OutputPrompt, .jp-Collapser { display: none; }
    .jp-OutputArea-output, .jp-InputArea-editor { min-width: 0; }
  }
</style>
{%- endblock -%}
{%- block data_png scoped -%}
<div class="jp-RenderedImage jp-OutputArea-output">
  <img src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}"
       alt="{{ output | get_metadata('alt', 'image/png') | escape_html }}">
</div>
{%- endblock -%}
"""


class Client(NotebookClient):
    """Executes a notebook, and shows on a bar what its cells print, when they do."""

    def process_message(self, message, cell, index):
        text = message["content"]["text"] if message["msg_type"] == "stream" else ""
        if "%|" in text:  # a training's own bar
            self.bar.set_postfix_str(text.split("|")[-1].strip())
        elif text.strip():  # warnings too
            self.bar.write(text.rstrip())
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
    write_page(folder / f"{name}.ipynb")


def write_page(path: Path) -> Path:
    """The page of an executed notebook, beside it."""
    exporter = HTMLExporter(template_file="page", extra_loaders=[DictLoader({"page": PAGE})], embed_images=True)
    notebook = publish.clean(nbformat.read(path, as_version=4))
    for cell in notebook.cells:  # nbconvert puts only pictures below its folder into the page
        cell.source = cell.source.replace("](../readme_image/", "](readme_image/")
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem, "path": str(publish.ROOT)}})
    path.with_suffix(".html").write_text(page, encoding="utf-8")
    return path.with_suffix(".html")


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # a console may lack a character
    output = Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    for notebook_name in sys.argv[2:]:
        try:
            execute(notebook_name, output)
        except (CellExecutionError, DeadKernelError, AssertionError) as error:  # the last: Ctrl-C
            sys.exit(f"{notebook_name} stopped; see {output / notebook_name}.ipynb.\n{str(error) or 'Interrupted.'}")
