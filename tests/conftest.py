import os

# Before `utils` is imported, here or in a kernel: tests need no network and write no tracked file.
os.environ |= {"IMAGE_FILL_DATA": "photos", "IMAGE_FILL_EFFORT": "smoke", "IMAGE_FILL_OUTPUT": "build/test"}

import matplotlib
import pytest

matplotlib.use("agg")


@pytest.fixture(scope="session")
def photos():
    """The stand-in photographs at the smoke effort."""
    import utils

    return utils.load_images("photos")
