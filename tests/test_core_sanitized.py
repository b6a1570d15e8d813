"""The C core once more, with the compiler's checks in it.

Its tests run again, and a hostile driver of virtqueues.

AddressSanitizer finds accesses outside of objects, UndefinedBehaviorSanitizer what the C
standard leaves undefined; both end the process.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]


def run(command: list[str | Path], **environment: str) -> str:
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def build(folder: Path) -> Path:
    """A copy of the package with a core of its own, in `folder`; returns the core."""
    command = [sys.executable, "setup.py", "-q", "build_ext"]
    run(
        [*command, "--build-lib", folder, "--build-temp", folder / "temp"],
        RINGLET_SANITIZE="1",
    )
    package = folder / "ringlet"
    (core,) = package.glob("_core*.so")
    shutil.copytree(
        ROOT / "src" / "ringlet",
        package,
        ignore=shutil.ignore_patterns("*.so", "_guests"),
        dirs_exist_ok=True,
    )
    return core


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a program that is to use such a core."""
    folder = tmp_path_factory.mktemp("sanitized")
    core = build(folder)
    for symbol in (b"__asan_init", b"__ubsan_handle"):
        assert symbol in core.read_bytes()  # or these tests would see nothing
    environment = {
        "LD_PRELOAD": run(["gcc", "-print-file-name=libasan.so"]).strip(),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own are many
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONPATH": str(folder),
    }
    loaded = run(
        [sys.executable, "-c", "from ringlet import _core; print(_core.__file__)"], **environment
    )
    assert Path(loaded.strip()) == core
    return environment


def passed(report: Path, *tests: str, **environment: str) -> int:
    """Runs `tests`, none of which may be skipped; how many there were."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run([*command, f"--junit-xml={report}", *tests], **environment)
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    assert int(suite.attrib["skipped"]) == 0
    return int(suite.attrib["tests"])


@pytest.mark.needs_gcc
@pytest.mark.needs_kvm
def test_the_core_does_nothing_undefined_in_its_tests(
    environment: dict[str, str], tmp_path: Path
) -> None:
    assert passed(tmp_path / "report.xml", "tests/kvm", **environment) > 100


@pytest.mark.needs_gcc
def test_the_queues_do_nothing_undefined_whatever_a_driver_does(
    environment: dict[str, str], tmp_path: Path
) -> None:
    tests = [f"tests/virtio/test_{name}.py" for name in ("queue", "chain", "hostile")]
    environment = environment | {"FUZZ_OPERATIONS": "30000"}
    assert passed(tmp_path / "report.xml", *tests, **environment) > 100


@pytest.mark.needs_gcc
@pytest.mark.needs_root
@pytest.mark.needs_busybox
def test_the_tracer_does_nothing_undefined_whatever_a_process_does(
    environment: dict[str, str], tmp_path: Path
) -> None:
    tests = [
        "tests/observe/calls/test_call_tracer.py",
        "tests/compare/instances/test_system_calls.py",
    ]
    left_out = "-k", "not strace"  # which would be loaded with the sanitizer, too
    assert passed(tmp_path / "report.xml", *left_out, *tests, **environment) > 30
