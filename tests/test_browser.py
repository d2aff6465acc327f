"""A reader opens each notebook in JupyterLab, in a real browser, and runs all of it."""

import re

import nbformat
import pytest

from notebooks import PATHS


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
    page.locator("[data-command='notebook:restart-run-all']").first.click()
    page.locator(".jp-Dialog .jp-mod-accept").click()
    error = page.locator("[data-mime-type='application/vnd.jupyter.error']")
    prompts = page.locator(".jp-CodeCell .jp-InputPrompt")
    assert prompts.count() == len([cell for cell in stored.cells if cell.cell_type == "code"])
    for i in range(prompts.count()):
        prompts.nth(i).filter(has_text=re.compile(rf"^\[{i + 1}\]:$")).or_(error).first.wait_for()
        assert not error.count(), error.first.inner_text()
    assert page.locator(".jp-OutputArea-output img").count()


def test_the_link_to_utils_opens_it(open_notebook):
    page = open_notebook("1_direct_convolution.ipynb")
    page.get_by_role("link", name="utils.py").first.click()
    page.locator(".jp-FileEditor").get_by_text("What the three notebooks share").wait_for()
