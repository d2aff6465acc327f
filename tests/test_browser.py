"""A reader runs a notebook in JupyterLab, in a real browser; another one reads its page."""

import re
import shutil

import nbformat
import pytest

import publish
from run import write_page


def run_all(page):
    """Restart the kernel and wait as cell after cell is run; AssertionError for an error."""
    page.locator("[data-command='notebook:restart-run-all']").first.click()
    page.locator(".jp-Dialog").filter(has_text="Restart Kernel?").locator(".jp-mod-accept").click()
    error = page.locator("[data-mime-type$='.error']").first
    prompts = page.locator(".jp-CodeCell .jp-InputPrompt")
    for i in range(prompts.count()):
        done = prompts.nth(i).filter(has_text=re.compile(rf"^\[{i + 1}\]:$"))
        done.or_(error).first.wait_for()
        assert not error.count(), error.inner_text()


def test_the_first_notebook_runs_to_its_training(open_notebook, jupyter_server):
    """The rest of it, and the others, are run without a browser."""
    path = jupyter_server[1] / "notebooks" / "1_direct_convolution.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = notebook.cells[:36]
    for cell in notebook.cells:  # what is there at the end was made here
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)
    page = open_notebook(path.name)
    top = page.locator(".jp-MarkdownCell img").first
    assert top.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    run_all(page)
    assert page.locator(".jp-OutputArea-output img").count() > 3


@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_has_all_its_pictures_and_fits_the_screen(browser, tmp_path, width):
    shutil.copy(publish.NOTEBOOKS[2], tmp_path)
    written = write_page(tmp_path / publish.NOTEBOOKS[2].name)
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    page = context.new_page()
    page.goto(written.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    pictures = page.locator("img").evaluate_all("all => all.map(x => [x.naturalWidth, x.alt])")
    assert len(pictures) > 15
    assert all(size > 100 and text for size, text in pictures)
    context.close()
