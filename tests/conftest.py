import os

# Before `utils` is imported: tests never reach for a network and never write tracked files.
os.environ.setdefault("IMAGE_FILL_DATA", "photos")
os.environ.setdefault("IMAGE_FILL_EFFORT", "smoke")
os.environ.setdefault("IMAGE_FILL_OUTPUT", "build/test")

import matplotlib
import pytest

matplotlib.use("agg")


@pytest.fixture(scope="session")
def photos():
    """The stand-in photographs at the smoke effort."""
    import utils

    return utils.load_images("photos")
