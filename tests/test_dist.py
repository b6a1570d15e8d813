"""The wheel that `make dist` makes, as a user with no compiler meets it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.needs_kvm, pytest.mark.slow]

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist") / "dist"
    run("make", "dist", f"DIST={folder}", f"PYTHON={sys._base_executable}")  # type: ignore[attr-defined]
    return folder


def test_wheel_is_for_every_python_from_3_11_and_manylinux(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    assert wheel.match("ringlet-*-cp311-abi3-manylinux_*_x86_64.whl")
    (sdist,) = dist.glob("*.tar.gz")
    assert sdist.name.startswith("ringlet-")


def test_wheel_boots_hello_where_there_is_no_compiler(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    programs = tmp_path / "venv" / "bin"
    assert shutil.which("gcc", path=str(programs)) is None
    assert shutil.which("cc", path=str(programs)) is None
    alone = {"PATH": str(programs), "CC": "/no/compiler", "PYTHONPATH": ""}
    run(programs / "python", "-m", "pip", "install", "--quiet", wheel, **alone)
    assert run(programs / "ringlet", "boot", "hello", **alone) == "Hello, ring 0!\n"
