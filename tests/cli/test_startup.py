"""Start-up time is a feature: which modules a command imports."""

import subprocess
import sys
from pathlib import Path

import pytest

from ..container.rootfs import make_rootfs
from .command import ENVIRONMENT, LONG

RUN = "from ringlet.cli import run; run(sys.argv[1:])"
REPORT = """
import atexit, sys
{first}
before = set(sys.modules)
atexit.register(lambda: print(*(set(sys.modules) - before), file=sys.stderr))
"""

# What the standard library is needed for in `ringlet boot hello`; anything more wants a reason.
STANDARD = {
    "__future__",
    "_bisect",
    "_cffi_backend",
    "_collections",
    "_functools",
    "_operator",
    "_struct",
    "_weakrefset",
    "bisect",
    "collections",
    "collections.abc",
    "contextlib",
    "errno",
    "functools",
    "itertools",
    "keyword",
    "mmap",
    "operator",
    "reprlib",
    "select",
    "struct",
    "threading",
    "types",
}
# With an option that isn't plain, what ringlet needs beyond what `import click` brings.
BEYOND_CLICK = {
    "__future__",
    "_bisect",
    "_cffi_backend",
    "_locale",  # click's translations
    "_struct",
    "bisect",
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


def imported(*arguments: str, first: str = "") -> set[str]:
    """The modules that `ringlet ARGUMENTS` imports, less what the statement `first` brings."""
    result = subprocess.run(
        [sys.executable, "-c", REPORT.format(first=first) + RUN, *arguments],
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


def others(modules: set[str]) -> set[str]:
    return {name for name in modules if name.split(".")[0] != "ringlet"}


@pytest.mark.needs_kvm
@pytest.mark.parametrize("options", [[], ["--memory", "64M", "--cmdline", "a"]])
def test_boot_with_plain_options_does_without_click_and_imports_hardly_anything(
    options: list[str],
) -> None:
    modules = imported("boot", "hello", *options)
    assert "ringlet.machine.machine" in modules
    assert not others(modules) - STANDARD


@pytest.mark.needs_kvm
def test_boot_with_another_option_imports_click_and_nothing_else_heavy() -> None:
    modules = imported("boot", "hello", "--cpus", "1", first="import click")
    assert "ringlet.machine.machine" in modules
    assert not others(modules) - BEYOND_CLICK
    assert not modules & HEAVY


@pytest.mark.needs_kvm
def test_boot_of_a_short_guest_imports_nothing_of_what_it_does_not_use() -> None:
    modules = imported("boot", "hello")
    unused = {
        "ringlet.machine.crash",
        "ringlet.host.terminal",
        "ringlet.cli.doctor",
        "ringlet.cli.group",
    }
    assert not modules & unused


@pytest.mark.needs_root
@pytest.mark.needs_busybox
def test_run_with_plain_options_does_without_click_and_other_slow_imports(tmp_path: Path) -> None:
    rootfs = make_rootfs(tmp_path / "rootfs")
    words = ["run", "--env", "A=b", str(rootfs), "true"]
    imported(*words)  # from now on the filter is in the cache
    modules = imported(*words)
    assert "ringlet.container.container" in modules
    assert not modules & (HEAVY | {"click", "enum", "re", "signal", "typing"})


def test_help_imports_no_kvm() -> None:
    modules = imported("--help", first="import click")
    assert not any(name.startswith("ringlet.kvm") for name in modules)
    assert not modules & HEAVY


def test_guests_imports_no_kvm() -> None:
    assert not any(name.startswith("ringlet.kvm") for name in imported("guests"))
