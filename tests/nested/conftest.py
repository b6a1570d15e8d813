"""Tests here need a KVM that runs stock kernels: `make test-nested` runs them where there is one.

Where the KVM can't, a plain `pytest` skips them; in CI nothing is skipped.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from ringlet.emulated.installed_kernel import cache, kernels_under
from ringlet.emulated.packages import default_package
from ringlet.errors import RingletError
from ringlet.kvm.system import System
from ringlet.machine.probe import unsupported_instruction

from .needs import lacks

HERE = Path(__file__).parent
CLOUD = "linux-image-cloud-amd64"
CACHE = cache()  # before a test has a cache of its own


@pytest.hookimpl(tryfirst=True)  # before pytest looks at marks for -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("nested")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if not _is_hardware_kvm():
        lacks("a KVM that runs ring 0 on the processor: `make test-nested` has one")


@functools.cache
def _is_hardware_kvm() -> bool:
    try:
        with System() as system:
            return unsupported_instruction(system) is None
    except RingletError:
        return False


def _kernel_of(package: str) -> Path:
    kernel = next(kernels_under(CACHE / package), None)
    if kernel is None:
        lacks(f"`ringlet nested --setup --package {package}`, run outside before")
    assert kernel is not None
    return kernel.vmlinuz


@pytest.fixture(scope="session")
def cloud_kernel() -> Path:
    """Debian's kernel for virtual machines."""
    return _kernel_of(CLOUD)


@pytest.fixture(scope="session")
def generic_kernel() -> Path:
    """This distribution's kernel."""
    return _kernel_of(default_package())


@pytest.fixture(scope="session")
def kernel_modules() -> Callable[[Path], Path]:
    """The folder of the modules of one of these kernels."""

    def modules(vmlinuz: Path) -> Path:
        return next(k.modules for k in kernels_under(vmlinuz.parent.parent) if k.vmlinuz == vmlinuz)

    return modules
