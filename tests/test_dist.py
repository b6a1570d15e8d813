"""The wheel that `make dist` makes, as a user with no compiler meets it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.needs_kvm, pytest.mark.slow]

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, folder: Path = ROOT, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
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


def install(dist: Path, folder: Path, **environment: str) -> Path:
    """The programs of an empty virtual environment in which the wheel is installed."""
    (wheel,) = dist.glob("*.whl")
    run(sys.executable, "-m", "venv", folder / "venv")
    programs = folder / "venv" / "bin"
    run(programs / "python", "-m", "pip", "install", "--quiet", wheel, **environment)
    return programs


def test_wheel_boots_hello_where_there_is_no_compiler(dist: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "venv" / "bin")
    alone = {"PATH": path, "CC": "/no/compiler", "PYTHONPATH": ""}
    programs = install(dist, tmp_path, **alone)
    assert shutil.which("gcc", path=path) is None
    assert shutil.which("cc", path=path) is None
    assert run(programs / "ringlet", "boot", "hello", **alone) == "Hello, ring 0!\n"


@pytest.mark.needs_gcc
def test_wheel_makes_builds_and_boots_a_guest_of_ones_own(dist: Path, tmp_path: Path) -> None:
    programs = install(dist, tmp_path)
    here = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": ""}
    (tmp_path / "work").mkdir()
    run("ringlet", "new", "hello", folder=tmp_path / "work", **here)
    folder = tmp_path / "work" / "hello"
    shown = run("make", "run", "ARGS=--cmdline 'a b'", folder=folder, **here)
    assert "Hello from hello, in ring 0!\nMy command line is: a b\n" in shown
    assert run("ringlet", "boot", folder=folder, **here) == "Hello from hello, in ring 0!\n"
    library = {path.name: path.read_bytes() for path in (folder / "lib").iterdir()}
    assert library == {path.name: path.read_bytes() for path in (ROOT / "guests/lib").iterdir()}
