"""The rules for which devices a container may use, and the `devices` controller of version 1.

The last rule for a device and a kind of access decides; an access without a rule is denied. Every
runtime reads linux.resources.devices in this way.

Source: the kernel's admin-guide/cgroup-v1/devices.rst; OCI runtime specification,
config-linux.md, "Allowed Device list" and "Default Devices".
"""

from __future__ import annotations

from ringlet.container.cgroups.file_access import CgroupError, read, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ringlet.container.spec.types import DeviceRule

ALL = -1  # any major or minor number

# Allowed or not; "c", "b" or "a"; major; minor; access: some of "r", "w" and "m".
Rule = tuple[bool, str, int, int, str]
Device = tuple[str, int, int]

# The rules that each container gets after its own. To make a node ("m") is not to use the device.
DEFAULT: tuple[Rule, ...] = (
    (True, "c", ALL, ALL, "m"),
    (True, "b", ALL, ALL, "m"),
    (True, "c", 1, 3, "rwm"),  # null
    (True, "c", 1, 5, "rwm"),  # zero
    (True, "c", 1, 7, "rwm"),  # full
    (True, "c", 1, 8, "rwm"),  # random
    (True, "c", 1, 9, "rwm"),  # urandom
    (True, "c", 5, 0, "rwm"),  # tty
    (True, "c", 5, 2, "rwm"),  # ptmx
    (True, "c", 136, ALL, "rwm"),  # pts/*, and so the console
)


def rules_of(devices: Iterable[DeviceRule] | None) -> list[Rule]:
    """Returns a bundle's rules, then the default rules. Raises `CgroupError` for a bad number.

    A rule for all types of devices stays one rule ("a") if it is for all access to all devices:
    then it replaces the rules before it. Otherwise it becomes two rules.
    """
    rules: list[Rule] = []
    for it in devices or ():
        kind = it.get("type") or "a"
        major = _number("major", it.get("major"), 1 << 12)
        minor = _number("minor", it.get("minor"), 1 << 20)
        access = "".join(letter for letter in "rwm" if letter in (it.get("access") or "rwm"))
        if kind == "a" and (major, minor, access) != (ALL, ALL, "rwm"):
            kind = "cb"
        rules += [(it["allow"], one, major, minor, access) for one in kind]
    return [*rules, *DEFAULT]


def _number(what: str, value: int | None, end: int) -> int:
    if value is None or value < 0:
        return ALL
    if value >= end:
        raise CgroupError(
            f"linux.resources.devices: {what} {value} is no device's", f"Linux has less than {end}"
        )
    return value


def allow_version_1(folder: str, rules: Sequence[Rule]) -> None:
    """Makes the `devices` cgroup allow exactly these rules. Raises `CgroupError`."""
    allowed, exceptions = exceptions_of(rules)
    now_allowed, now = _parse(read(folder, "devices.list") or "")
    if allowed != now_allowed or allowed:
        # This allows or denies everything, without exceptions; refused if there are cgroups below.
        write(folder, "devices.allow" if allowed else "devices.deny", "a")
        now = {}
    # An exception is a denial where everything is allowed, and a permission where nothing is.
    add, remove = ("deny", "allow") if allowed else ("allow", "deny")
    removed = _missing(now, exceptions)
    if removed:
        write(folder, f"devices.{remove}", *removed)
    added = _missing(exceptions, now)
    if added:
        write(folder, f"devices.{add}", *added)


def exceptions_of(rules: Iterable[Rule]) -> tuple[bool, dict[Device, str]]:
    """Converts rules to version 1: whether everything is allowed, and the exceptions to that.

    Raises `CgroupError` for an exception within a wider exception: version 1 can't express that.
    """
    exceptions: dict[Device, str] = {}
    allowed = False
    for allow, kind, major, minor, access in rules:
        device = (kind, major, minor)
        if kind == "a":
            allowed, exceptions = allow, {}
        elif allow == allowed:
            for other, its_access in list(exceptions.items()):
                if not _meet(device, other) or not set(access) & set(its_access):
                    continue
                if not _covers(device, other):
                    raise CgroupError(
                        f"the device rules {'deny' if allow else 'allow'} "
                        f"{_text(other, its_access)}, but not {_text(device, access)} of these",
                        "cgroup version 1 can't express that: name each device by itself",
                    )
                exceptions[other] = "".join(it for it in its_access if it not in access)
        else:
            both = exceptions.get(device, "") + access
            exceptions[device] = "".join(letter for letter in "rwm" if letter in both)
    return allowed, {device: access for device, access in exceptions.items() if access}


def _meet(one: Device, other: Device) -> bool:
    return one[0] == other[0] and all(
        a == b or ALL in (a, b) for a, b in zip(one[1:], other[1:], strict=True)
    )


def _covers(wide: Device, narrow: Device) -> bool:
    return wide[1] in (ALL, narrow[1]) and wide[2] in (ALL, narrow[2])


def _text(device: Device, access: str) -> str:
    kind, major, minor = device
    return f"{kind} {'*' if major < 0 else major}:{'*' if minor < 0 else minor} {access}"


def _missing(wanted: dict[Device, str], there: dict[Device, str]) -> list[str]:
    """Returns the accesses in `wanted` that `there` lacks, in the kernel's format."""
    missing = []
    for device, access in wanted.items():
        left = "".join(letter for letter in access if letter not in there.get(device, ""))
        if left:
            missing.append(_text(device, left))
    return missing


def _parse(text: str) -> tuple[bool, dict[Device, str]]:
    """Parses devices.list, which doesn't show the exceptions while everything is allowed."""
    found: dict[Device, str] = {}
    for line in text.splitlines():
        kind, number, access = line.split()
        if kind == "a":
            return True, {}
        major, minor = (ALL if it == "*" else int(it) for it in number.split(":"))
        found[kind, major, minor] = access
    return False, found
