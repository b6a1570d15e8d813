"""Start-up time is a feature: which modules a command imports."""

import subprocess
import sys

import pytest

from .command import CODE, ENVIRONMENT, LONG

REPORT = """
import atexit, sys
import click
before = set(sys.modules)
atexit.register(lambda: print(*(set(sys.modules) - before), file=sys.stderr))
"""

# What ringlet needs beyond what `import click` brings; anything more wants a reason.
NEEDED = {
    "_bisect",
    "_cffi_backend",
    "_locale",  # click's translations
    "_struct",
    "bisect",
    "copy",  # dataclasses
    "dataclasses",
    "locale",
    "mmap",
    "select",
    "signal",
    "struct",
}
HEAVY = {
    "asyncio",
    "capstone",
    "cffi",
    "ctypes",
    "importlib.metadata",
    "json",
    "logging",
    "pathlib",
    "rich",
    "socket",
    "subprocess",
    "tomllib",
    "typing_extensions",
}


def imported(*arguments: str) -> set[str]:
    """The modules that `ringlet ARGUMENTS` imports, less what click brings."""
    result = subprocess.run(
        [sys.executable, "-c", REPORT + CODE, *arguments],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=True,
    )
    modules = set(result.stderr.split())
    assert "ringlet.cli" in modules
    return modules


@pytest.mark.needs_kvm
def test_boot_imports_ringlets_own_and_hardly_anything_else() -> None:
    modules = imported("boot", "hello")
    assert not modules & HEAVY
    others = {name for name in modules if not name.startswith("ringlet")}
    assert not others - NEEDED
    assert "ringlet.machine" in modules


@pytest.mark.needs_kvm
def test_boot_of_a_short_guest_imports_nothing_of_what_it_does_not_use() -> None:
    modules = imported("boot", "hello")
    assert not modules & {"ringlet.crash", "ringlet.host.terminal", "ringlet.cli.doctor"}


def test_help_imports_no_kvm() -> None:
    modules = imported("--help")
    assert not any(name.startswith("ringlet.kvm") for name in modules)
    assert not modules & HEAVY


def test_guests_imports_no_kvm() -> None:
    assert not any(name.startswith("ringlet.kvm") for name in imported("guests"))
