import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

# Before `utils` is imported, here or in a kernel: tests need no network and write no tracked file.
os.environ |= {"IMAGE_FILL_DATA": "photos", "IMAGE_FILL_EFFORT": "smoke"}
os.environ |= {"IMAGE_FILL_OUTPUT": "build/test", "NO_PROXY": "localhost,127.0.0.1"}
os.environ.pop("MPLBACKEND", None)  # kernels choose their own

import matplotlib
import pytest

matplotlib.use("agg")

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = "chromium", "chromium-browser", "google-chrome", "chrome", "msedge"
PATIENCE = 600  # seconds: a slow machine needs minutes for JupyterLab's first start


@pytest.fixture(scope="session")
def photos():
    """The stand-in photographs at the smoke effort."""
    import utils

    return utils.load_images("photos")


@pytest.fixture(scope="session")
def jupyter_server(tmp_path_factory):
    """JupyterLab on a copy of the repository: its address for a notebook, and its folder."""
    copy = tmp_path_factory.mktemp("repository")
    for name in ("notebooks", "readme_image", "data"):
        ignored = shutil.ignore_patterns(".ipynb_checkpoints", "cifar-10*", "__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    shutil.copy(ROOT / "utils.py", copy)
    env = os.environ | {f"JUPYTER_{x}_DIR": str(copy / x) for x in ("CONFIG", "DATA", "RUNTIME")}
    place = copy / "CONFIG/lab/user-settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
    place.parent.mkdir(parents=True)
    place.write_text('{"windowingMode": "none"}')  # all cells are in the page, wherever it is scrolled to
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--port=0", "--allow-root"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=reader"]
    log, started = (copy / "lab.log").open("w"), time.monotonic()
    server = subprocess.Popen(command, env=env, cwd=copy, stdout=log, stderr=log)
    try:
        while not (found := list((copy / "RUNTIME").glob("jpserver-*.json"))):
            assert server.poll() is None, (copy / "lab.log").read_text()
            assert time.monotonic() - started < PATIENCE
            time.sleep(0.1)
        port = json.loads(found[0].read_text())["port"]
        yield f"http://127.0.0.1:{port}/lab/tree/notebooks/{{}}?reset&token=reader", copy
    finally:
        server.terminate()
        server.wait()
        log.close()


@pytest.fixture(scope="session")
def browser():
    """A Chromium, driven by Playwright; without one the test is skipped."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        installed = next(filter(None, map(shutil.which, BROWSERS)), None)
        if not (installed or os.path.exists(playwright.chromium.executable_path)):
            pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)}")
        opened = playwright.chromium.launch(executable_path=installed, timeout=1000 * PATIENCE)
        yield opened
        opened.close()


@pytest.fixture
def open_notebook(jupyter_server, browser):
    """A function that opens a notebook in JupyterLab: its page, the kernel being ready."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(1000 * PATIENCE)

    def open_it(name):
        page.goto(jupyter_server[0].format(name))
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        page.locator(".jp-StatusBar-Middle, .jp-StatusBar-Left").get_by_text("| Idle").first.wait_for()
        return page

    yield open_it
    page.get_by_role("menuitem", name="Kernel").first.click()
    page.get_by_role("menuitem", name="Shut Down All Kernels").click()  # each would keep its memory
    page.locator(".jp-Dialog .jp-mod-accept").click()
    page.close()
