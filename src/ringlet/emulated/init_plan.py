"""The plan for the init of a nested machine, and the initramfs that holds the init and its plan.

Source: csrc/init/plan.c, which describes the lines of a plan.
"""

from __future__ import annotations

import os

from ringlet.emulated.installed_kernel import MODULES
from ringlet.emulated.qemu import ROOT_TAG, SHARE_TAG
from ringlet.errors import ConfigError
from ringlet.linux.initramfs import build, plan_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from ringlet.emulated.installed_kernel import InstalledKernel
    from ringlet.emulated.nested_config import NestedConfig


def initramfs(
    config: NestedConfig, kernel: InstalledKernel, size: os.terminal_size | None = None
) -> BinaryIO:
    """Makes the initramfs, a file in memory. Raises `RingletError`.

    With `size`, the command gets a terminal of that size.
    """
    file = os.fdopen(os.memfd_create("initramfs"), "w+b")
    try:
        plan = list(_plan(config, size))
        build(
            file,
            plan=plan,
            modules=kernel.modules,
            module_names=MODULES,
            module_parameters={"kvm_amd": "npt=0"} if config.shadow_paging else None,
        )
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


def _plan(config: NestedConfig, size: os.terminal_size | None) -> Iterator[bytes]:
    """Returns the lines of the plan. The command gets our files, folder, environment and user."""
    yield plan_line("root9p", ROOT_TAG)
    yield plan_line("hostname", os.uname().nodename)
    if config.share is not None:
        yield plan_line("share", SHARE_TAG, config.share, "rw")
    try:
        yield plan_line("cwd", os.getcwd())
    except FileNotFoundError:
        raise ConfigError("the current folder is gone", "cd to another one") from None
    for name, value in os.environb.items():
        yield plan_line("env", name + b"=" + value)
    for word in config.command:
        yield plan_line("arg", word)
    if os.geteuid() != 0:
        ids = (os.geteuid(), os.getegid(), *os.getgroups())
        yield plan_line("user", *ids)
    yield plan_line("stdio", "ports")
    yield plan_line("status", "control")
    if size is not None:
        yield plan_line("tty", size.lines, size.columns)
