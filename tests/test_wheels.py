"""The weekly question whether everything can be installed, asked of a folder of wheels."""

import zipfile

import pytest

import wheels


def test_a_requirement_without_a_wheel_for_a_newer_python_is_named(tmp_path, monkeypatch):
    for name, tag in (("everywhere", "py3-none-any"), ("behind", "cp313-cp313-win_amd64")):
        with zipfile.ZipFile(tmp_path / f"{name}-1.0-{tag}.whl", "w") as wheel:
            wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(f"{name}-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
            wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    both = ["everywhere>=1", "behind>=1"]
    assert wheels.find_wheels(both, "3.13", "Windows") == ["everywhere 1.0", "behind 1.0"]
    for python, system in (("3.14", "Windows"), ("3.13", "Linux")):
        with pytest.raises(ValueError, match="No matching distribution found for behind"):
            wheels.find_wheels(both, python, system)
