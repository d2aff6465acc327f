"""The commands of the Makefile: the environment that they make, and what they run it on."""

import os
import re
import shutil
import subprocess
import sys

import pytest

import publish
import utils

pytestmark = pytest.mark.skipif(
    os.name == "nt" or not shutil.which("make"), reason="there is no make here"
)


@pytest.fixture
def copy(tmp_path):
    """A repository whose requirements are none, so that its environment is made in seconds."""
    folder = tmp_path / "repository"
    folder.mkdir()
    shutil.copy(utils.ROOT / "Makefile", folder)
    (folder / "requirements.txt").write_text("# nothing\n", encoding="utf-8")
    return folder


def make(folder, *arguments, **variables):
    env = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("MAKE", "MFLAGS", "VIRTUAL_ENV"))
    }
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, env=env | variables, capture_output=True, text=True)


def dry(*arguments, **variables):
    """The lines of shell that make would run in the repository."""
    done = make(utils.ROOT, "--dry-run", *arguments, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_environment_is_made_anew_where_it_cannot_work(copy):
    old = copy.parent / "python3.9"  # as if it were one: all that it is asked is its version
    old.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.version_info = (3, 9, 18); exec(sys.argv[2])' \"$@\"\n"
    )
    old.chmod(0o755)
    for python in (str(old), "python-that-is-not-there"):
        done = make(copy, f"PYTHON={python}", ".venv/ready")
        assert done.returncode != 0
        assert f"needs Python 3.11 or newer, and {python} is not" in done.stdout
        assert not (copy / ".venv").exists(), "something was made before the check"

    python = f"PYTHON={sys.executable}"
    (copy / ".venv/bin").mkdir(parents=True)  # what an installation that failed has left
    (copy / ".venv/bin/python").symlink_to(old)
    assert make(copy, python, ".venv/ready").returncode == 0
    assert "up to date" in make(copy, python, ".venv/ready").stdout

    moved = copy.rename(copy.with_name("moved"))
    assert make(moved, python, ".venv/ready").returncode == 0
    pip = subprocess.run(
        [moved / ".venv/bin/pip", "--version"], capture_output=True, text=True, check=True
    )
    assert str(moved) in pip.stdout
    assert "up to date" in make(moved, python, ".venv/ready").stdout

    kept = moved / ".venv/kept"
    kept.touch()
    os.utime(moved / ".venv/ready", (0, 0))  # as if the requirements had changed since
    assert make(moved, python, ".venv/ready").returncode == 0
    assert kept.exists(), "installing more does not take what is there"


def test_it_runs_the_series_and_no_notebook_of_the_readers_own():
    names = [path.stem for path in publish.NOTEBOOKS]
    for target in ("run", "notebooks"):
        looped = re.search(r"for name in (.*?);", dry(target))[1].split()
        assert looped == names


def test_the_variables_of_the_reader_reach_the_notebooks():
    variables = {"IMAGE_FILL_EFFORT": "quick", "IMAGE_FILL_OUTPUT": "elsewhere"}
    assert "IMAGE_FILL_EFFORT=" not in dry("run"), "the effort is for utils to choose"
    assert "IMAGE_FILL_OUTPUT=" not in dry("run", **variables)
    assert '"elsewhere/data/results.csv"' in dry("run", **variables)
    assert '"build/data/results.csv"' in dry("run", IMAGE_FILL_OUTPUT="")
