"""Labels of Linux security modules; a label has an effect only where its module is enabled.

A container with a label must not run unconfined: a label whose module is missing is refused.

Source: OCI Runtime Specification 1.3, config.md ("Linux Process"), config-linux.md ("mountLabel");
the kernel's admin-guide/LSM/apparmor.rst and SELinux.rst.
"""

from __future__ import annotations

import os

from ringlet.container.spec.checkers import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_APPARMOR = "/sys/module/apparmor/parameters/enabled"
_SELINUX = "/sys/fs/selinux/enforce"  # the program that loads the policy mounts selinuxfs


def label_of(config: Mapping[str, Any], field: str) -> str:
    """Returns the label in this field of the configuration; empty for none. Raises SpecError."""
    label: str = config.get(field, "")
    if not label:
        return ""
    name, is_there = (
        ("AppArmor", _has_apparmor) if field == "apparmorProfile" else ("SELinux", _has_selinux)
    )
    if not is_there():
        raise SpecError(
            f"{field} {label!a}: {name} is not enabled on this host",
            "leave it out, or run the container where it is",
        )
    return label


def _has_apparmor() -> bool:
    try:
        with open(_APPARMOR) as file:
            return file.read(1) == "Y"
    except OSError:
        return False


def _has_selinux() -> bool:
    return os.path.exists(_SELINUX)
