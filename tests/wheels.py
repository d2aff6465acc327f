"""What the weekly workflow asks: `python tests/wheels.py` says whether each requirement has a wheel for each Python and
each system that the README names. Nothing is installed, and hardly anything downloaded.
"""

import json
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements.txt"
PYTHONS = "3.11", "3.12", "3.13", "3.14"
SYSTEMS = {
    "Linux": ["manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in range(17, 29))],
    "macOS": ["macosx_14_0_arm64"],
    "Windows": ["win_amd64"],
}


def find_wheels(requirements: list[str], python: str, system: str) -> list[str]:
    """Name and version of what pip would install there; ValueError, in pip's words, for a requirement with no wheel."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
    command += ["--only-binary=:all:", "--target=none", f"--python-version={python}", "--report=-"]
    command += [f"--platform={platform}" for platform in SYSTEMS[system]]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True)
    if done.returncode != 0:
        raise ValueError(done.stderr.strip())
    found = [package["metadata"] for package in json.loads(done.stdout)["install"]]
    return [f"{about['name']} {about['version']}" for about in found]


def main() -> int:
    """Print what would be installed, and what cannot be; 1 if there is any such."""
    lines, missing = REQUIREMENTS.read_text(encoding="utf-8").splitlines(), False
    requirements = [line for line in lines if line and not line.startswith("#")]
    for python in PYTHONS:
        for system in SYSTEMS:
            try:
                told = ", ".join(find_wheels(requirements, python, system))
            except ValueError as error:
                told, missing = f"NOT TO BE INSTALLED\n{error}", True
            print(f"Python {python}, {system}: {told}", flush=True)
    return int(missing)


if __name__ == "__main__":
    sys.exit(main())
