"""The Makefile's environment, and what its commands run."""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

import benchmark
import publish
import utils

ROOT = publish.ROOT


def make(folder, *arguments):
    env = {k: x for k, x in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.skipif(os.name == "nt" or not shutil.which("make"), reason="there is no make here")
def test_the_environment_is_made_anew_where_it_cannot_work(tmp_path):
    (folder := tmp_path / "repository").mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "requirements.txt").write_text("# nothing\n", encoding="utf-8")
    done = make(folder, "PYTHON=python-that-is-not-there", ".venv/ready")
    assert "needs Python 3.11 or newer" in done.stdout
    assert not (folder / ".venv").exists()
    python = f"PYTHON={sys.executable}"
    assert make(folder, python, ".venv/ready").returncode == 0
    assert "up to date" in make(folder, python, ".venv/ready").stdout
    moved = folder.rename(folder.with_name("moved"))
    assert make(moved, python, ".venv/ready").returncode == 0
    pip = subprocess.run([moved / ".venv/bin/pip", "--version"], capture_output=True, text=True)
    assert str(moved) in pip.stdout
    for target in ("run", "notebooks"):
        assert " ".join(publish.NAMES) in make(ROOT, "--dry-run", target).stdout


def test_a_notebook_is_run_with_its_page_and_an_error_stops(tmp_path):
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("test_*"))
    (tmp_path / "notebooks").mkdir()
    for name, source in (("good", "print(6 * 7)"), ("bad", "print(6)\n1 / 0")):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")
    command = [sys.executable, tmp_path / "tests" / "run.py", tmp_path / "out", "good", "bad"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "42" in (tmp_path / "out" / "good.html").read_text(encoding="utf-8")
    assert "42" in done.stdout
    assert "ZeroDivisionError" in done.stderr
    assert "encryption" not in done.stdout + done.stderr
    assert nbformat.read(tmp_path / "out" / "bad.ipynb", as_version=4).cells[0].outputs


def test_it_measures_every_network(monkeypatch, tmp_path):
    monkeypatch.setattr(utils, "OUTPUT", tmp_path)
    text = benchmark.main(steps=1, rounds=1)
    assert (tmp_path / "benchmark.md").read_text() == text
    for name in benchmark.NETWORKS:
        numbers = re.search(rf"\| {name} \| (\d+) \| (\d+) \| ([\d.]+) \| (\d+)% \|", text).groups()
        assert all(float(x) > 0 for x in numbers), name
