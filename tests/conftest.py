import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

# Before `utils` is imported, here or in a kernel: tests need no network and write no tracked file.
os.environ |= {"IMAGE_FILL_DATA": "photos", "IMAGE_FILL_EFFORT": "smoke", "IMAGE_FILL_OUTPUT": "build/test"}

import matplotlib
import pytest

matplotlib.use("agg")

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = "chromium", "chromium-browser", "google-chrome", "chrome", "msedge"
PATIENCE = 600  # seconds without anything new to be seen: a slow machine needs minutes for JupyterLab's first start
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # all cells are in the page, wherever it is scrolled to
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@pytest.fixture(scope="session")
def photos():
    """The stand-in photographs at the smoke effort."""
    import utils

    return utils.load_images("photos")


class Server(NamedTuple):
    """A running JupyterLab: its address, the token that lets one in, and the folder that it serves."""

    address: str
    token: str
    folder: Path


@pytest.fixture(scope="session")
def jupyter_server(tmp_path_factory):
    """JupyterLab on a copy of the repository, which it may write to, started there as the README says."""
    copy = tmp_path_factory.mktemp("repository")
    for name in ("notebooks", "readme_image", "data"):
        ignored = shutil.ignore_patterns(".ipynb_checkpoints", "cifar-10*")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    shutil.copy(ROOT / "utils.py", copy)
    told = re.search(r"^\.venv/bin/jupyter lab\b([^#\n]*)", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    env = dict(os.environ)
    for folder in ("config", "data", "runtime"):  # nothing of the reader's own settings, nothing left in them
        env[f"JUPYTER_{folder.upper()}_DIR"] = str(copy / "jupyter" / folder)
    for name, settings in SETTINGS.items():
        place = copy / f"jupyter/config/lab/user-settings/@jupyterlab/{name}.jupyterlab-settings"
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "jupyterlab", *told[1].split(), "--no-browser", "--port=0", "--allow-root"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=reader"]
    path = copy / "lab.log"
    with path.open("w") as log, subprocess.Popen(command, env=env, cwd=copy, stdout=log, stderr=log) as server:
        try:
            found, waited = None, time.monotonic()
            while not found:
                time.sleep(0.1)
                text = path.read_text(encoding="utf-8", errors="replace")
                found = re.search(r"http://(?:localhost|127\.0\.0\.1):(\d+)/lab", text)
                assert found or (server.poll() is None and time.monotonic() - waited < PATIENCE), text
            yield Server(f"http://127.0.0.1:{found[1]}", "reader", copy)
        finally:
            server.terminate()


@pytest.fixture(scope="session")
def browser():
    """A Chromium, driven by Playwright; without one the test is skipped."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright, which drives the browser, is missing")
    with sync_api.sync_playwright() as playwright:
        installed = next(filter(None, map(shutil.which, BROWSERS)), None)
        if not (installed or os.path.exists(playwright.chromium.executable_path)):
            pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)}, and not Playwright's own")
        opened = playwright.chromium.launch(executable_path=installed, timeout=1000 * PATIENCE)
        yield opened
        opened.close()


@pytest.fixture
def open_notebook(jupyter_server, browser):
    """A function that opens a notebook of the served copy in JupyterLab and gives its page, the kernel being ready."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(1000 * PATIENCE)

    def open_it(name):
        page.goto(f"{jupyter_server.address}/lab/tree/notebooks/{name}?reset&token={jupyter_server.token}")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        page.get_by_text(
            re.compile(r"^Python 3 .*\| Idle$")
        ).wait_for()  # the round mark seems idle before there is one
        return page

    yield open_it
    kernels = f"{jupyter_server.address}/api/kernels"
    allowed = {"Authorization": f"token {jupyter_server.token}"}
    for kernel in page.request.get(kernels, headers=allowed).json():  # each would keep its memory
        page.request.delete(f"{kernels}/{kernel['id']}", headers=allowed)
    page.close()
