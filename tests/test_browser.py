"""A reader opens each notebook in JupyterLab, in a real browser, and runs all of it."""

import os
import re
import shutil
import subprocess
import sys
import time

import nbformat
import pytest

import utils
from notebooks import PATHS

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright, which drives the browser, is not installed")
NAMES = "chromium", "chromium-browser", "google-chrome", "chrome", "msedge"
PATIENCE = 240  # seconds that one notebook may take


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab on a copy of the repository, which it may write to, and the copy."""
    copy = tmp_path_factory.mktemp("repository")
    for name in ("notebooks", "readme_image"):
        shutil.copytree(utils.ROOT / name, copy / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copy(utils.ROOT / "utils.py", copy)
    env = os.environ | {"IMAGE_FILL_DATA": "photos", "IMAGE_FILL_EFFORT": "smoke", "IMAGE_FILL_OUTPUT": "build"}
    for folder in ("config", "data", "runtime"):  # nothing of the reader's own settings, nothing left in them
        env[f"JUPYTER_{folder.upper()}_DIR"] = str(copy / folder)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--port=0", "--ServerApp.port_retries=0"]
    command += ["--IdentityProvider.token=reader", "--allow-root", f"--ServerApp.root_dir={copy}"]
    with (copy / "lab.log").open("w+") as log, subprocess.Popen(command, env=env, cwd=copy, stderr=log) as server:
        try:
            for _ in range(600):
                if found := re.search(r"http://(?:localhost|127\.0\.0\.1):(\d+)/lab", (copy / "lab.log").read_text()):
                    break
                time.sleep(0.1)
            assert found, (copy / "lab.log").read_text()
            yield f"http://127.0.0.1:{found[1]}/lab", copy
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        installed = next(filter(None, map(shutil.which, NAMES)), None)
        if not (installed or os.path.exists(playwright.chromium.executable_path)):
            pytest.skip(f"there is no browser: none of {', '.join(NAMES)}, and not Playwright's own")
        opened = playwright.chromium.launch(executable_path=installed)
        yield opened
        opened.close()


@pytest.mark.parametrize("name", [path.name for path in PATHS])
def test_restart_and_run_all(lab, browser, name):
    address, copy = lab
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE * 1000)
    stored = nbformat.read(copy / "notebooks" / name, as_version=4)
    for cell in stored.cells:  # what is there at the end was made here
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(stored, copy / "notebooks" / name)
    page.goto(f"{address}/tree/notebooks/{name}?reset&token=reader")
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").or_(page.locator("[data-status=idle]")).first.wait_for()
    page.locator("[data-command='notebook:restart-run-all']").first.click()
    page.locator(".jp-Dialog .jp-mod-accept").click()
    cells = [cell for cell in wait_until_run(page, copy / "notebooks" / name).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output.evalue for output in outputs if output.output_type == "error"]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    assert all(output.metadata["image/png"]["alt"] for output in pictures)
    if name == "3_cvae.ipynb":
        ask_for_another_sample(page)
    page.close()


def wait_until_run(page, path):
    """The notebook as it is on disk once its last cell has been run."""
    for _ in range(PATIENCE):
        page.wait_for_timeout(1000)
        page.keyboard.press("Control+s")
        try:
            notebook = nbformat.read(path, as_version=4)
        except nbformat.reader.NotJSONError:  # it is being written at this moment
            continue
        last = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
        if last.execution_count or any(o.output_type == "error" for c in notebook.cells for o in c.get("outputs", [])):
            return notebook
    raise AssertionError(f"{path.name} has not been run to its end after {PATIENCE} seconds")


def ask_for_another_sample(page):
    """The controls below the last cell draw a new picture."""
    button = page.get_by_role("button", name="another sample")
    button.scroll_into_view_if_needed()
    drawn = page.locator(".jupyter-widgets .jp-RenderedImage img, .widget-output .jp-RenderedImage img")
    before = drawn.first.get_attribute("src")
    button.click()
    for _ in range(PATIENCE):
        page.wait_for_timeout(250)
        if drawn.count() and drawn.first.get_attribute("src") != before:
            return
    raise AssertionError("the picture is the same after a press of the button")
