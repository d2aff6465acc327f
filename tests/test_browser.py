"""A reader opens each notebook in JupyterLab, in a real browser, and runs all of it; another reads its page."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest

import pages
from notebooks import FOLDER, PATHS


@pytest.mark.parametrize("name", [path.name for path in PATHS])
def test_restart_and_run_all(open_notebook, jupyter_server, name):
    path = jupyter_server.folder / "notebooks" / name
    stored = nbformat.read(path, as_version=4)
    for cell in stored.cells:  # what is there at the end was made here
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(stored, path)
    page = open_notebook(name)
    assert page.locator(".jp-MarkdownCell img").first.evaluate("image => image.decode().then(() => image.width)") > 100
    restart_and_run_all(page)
    assert page.locator(".jp-OutputArea-output img").count()


def restart_and_run_all(page):
    """Wait as long as one cell after the other is run, in order; AssertionError for an error, in its words."""
    page.locator("[data-command='notebook:restart-run-all']").first.click()
    page.locator(".jp-Dialog").filter(has_text="Restart Kernel?").locator(".jp-mod-accept").click()
    errors = page.locator("[data-mime-type$='.stderr'], [data-mime-type$='.error']")
    error = errors.filter(has_text=re.compile(r"Traceback|\w+Error"))
    prompts = page.locator(".jp-CodeCell .jp-InputPrompt")
    for i in range(prompts.count()):
        prompts.nth(i).filter(has_text=re.compile(rf"^\[{i + 1}\]:$")).or_(error).first.wait_for()
        assert not error.count(), error.first.inner_text()


def test_an_error_is_noticed(open_notebook, jupyter_server):
    cells = [nbformat.v4.new_code_cell(source) for source in ("1", "1 / 0", "2")]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, jupyter_server.folder / "notebooks" / "broken.ipynb")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        restart_and_run_all(open_notebook("broken.ipynb"))


def test_the_link_to_utils_opens_it(open_notebook):
    page = open_notebook("1_direct_convolution.ipynb")
    page.get_by_role("link", name="utils.py").first.click()
    page.locator(".jp-FileEditor").get_by_text("What the three notebooks share").wait_for()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_is_whole_without_a_network_and_fits_the_screen(browser, tmp_path, width):
    (tmp_path / "notebooks").mkdir()
    shutil.copytree(FOLDER.parent / "readme_image", tmp_path / "readme_image")
    written = pages.write_page(Path(shutil.copy(FOLDER / "3_cvae.ipynb", tmp_path / "notebooks")))
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(written.as_uri())
    assert not [address for address in asked if not address.startswith(("file:", "data:"))]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert all(page.locator("img").evaluate_all("images => images.map(image => image.naturalWidth > 100)"))
    label = page.locator("munder:has(> .braced) mtext").first
    above = page.locator(".braced").first.bounding_box()
    assert label.bounding_box()["y"] >= above["y"] + above["height"] - 1, "what a brace says stands below it"
    context.close()
