"""The stored notebooks, the README and the engine room are what they say they are."""

import ast
import re
import statistics

import nbformat
import pytest

import publish
from notebooks import code_cells

ROOT = publish.ROOT
README = publish.README.read_text(encoding="utf-8")
HOME = re.compile(r"(?:/(?:home|root|Users|tmp|work|opt|mnt|var)/|[A-Z]:\\\\\w+\\\\)[\w.-]+")
SOURCES = [ROOT / "utils.py", *sorted((ROOT / "notebooks").glob("*.py"))]
each_notebook = pytest.mark.parametrize("path", publish.NOTEBOOKS, ids=lambda path: path.stem)


def outputs(path):
    return [output for cell in code_cells(path) for output in cell.outputs]


@each_notebook
def test_it_is_stored_as_executed_from_top_to_bottom_without_traces(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1)), "`git checkout notebooks` gets it back"
    assert not HOME.findall(str(outputs(path)))
    assert path.stat().st_size < 1_400_000
    assert set(nbformat.read(path, as_version=4).metadata) == {"kernelspec", "language_info"}
    for output in outputs(path):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text
        assert not [kind for kind in output.get("data", {}) if "widget" in kind]


@each_notebook
def test_pictures_are_described_and_links_lead_somewhere(path):
    pictures = [x for x in outputs(path) if "image/png" in x.get("data", {})]
    assert len(pictures) > 5
    assert all(len(x.metadata["image/png"]["alt"]) > 40 for x in pictures)
    cells = nbformat.read(path, as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    links = re.findall(r"(!?)\[([^\]]*)\]\((?!http)([^)#]+)\)", prose)
    assert links
    for picture, words, place in links:
        assert (path.parent / place).exists(), place
        assert not picture or len(words) > 40, place


@each_notebook
def test_cells_are_short(path):
    sizes = [len([x for x in c.source.splitlines() if x.strip()]) for c in code_cells(path)]
    assert statistics.median(sizes) <= 8
    assert max(sizes) <= 25


def test_the_readme_is_short_and_tells_the_stored_results():
    assert len(README.splitlines()) <= 200
    assert publish.with_results(README) == README, "`make notebooks` writes it"
    for place in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / place).exists(), place
    sources = "".join(x.read_text(encoding="utf-8") for x in [ROOT / "Makefile", *SOURCES])
    for name in set(re.findall(r"IMAGE_FILL_[A-Z]+", sources)):
        assert f"| `{name}` |" in README


def test_the_engine_room_is_small():
    limits = {"utils.py": 600, "judge.py": 250, "report.py": 250, "runs.py": 150}
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= limits.get(path.name, 100), path.name
        assert max(map(len, text.splitlines())) <= 100, path.name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 40, f"{path.name}: {node.name}"
                assert node.name.startswith("__") or ast.get_docstring(node) or node.col_offset
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("*.py")]
    assert sum(len(text.splitlines()) for text in tests) <= 1800
