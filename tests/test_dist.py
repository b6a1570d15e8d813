"""The wheel that `make dist` makes, as a user with no compiler meets it."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
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


@pytest.mark.needs_root
def test_from_the_wheel_to_the_first_check_of_lab_1(dist: Path, tmp_path: Path) -> None:
    """The steps of docs/getting-started.md, as a new user does them."""
    programs = install(dist, tmp_path)
    here = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": ""}
    run("ringlet", "lab", "start", "1", folder=tmp_path, **here)
    page = (ROOT / "docs/getting-started.md").read_text()
    (lines,) = re.findall(r"^```python\n(    vm = .*?)^```$", page, re.DOTALL | re.MULTILINE)
    program = tmp_path / "lab1/vm.py"
    text, count = re.subn(r"(    # Step 1: .*\n)", rf"\1{lines}", program.read_text())
    assert count == 1
    program.write_text(text.replace("import sys\n", "import sys\nimport time\n"))
    done = subprocess.run(
        ["ringlet", "lab", "check"],
        cwd=tmp_path / "lab1",
        env=os.environ | here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "  passed the program makes a VM with one vCPU (15/15)\n" in done.stdout
    assert done.stdout.endswith("\n15 of 100 points, on this host\n")


def test_no_solution_of_a_lab_is_in_the_wheel(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "ringlet/labs/lab01_first_vm/starter/vm.py" in names
    assert not [name for name in names if "solution" in name or "reference" in name]
