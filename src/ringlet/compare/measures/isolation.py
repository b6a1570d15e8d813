"""Measures what the workload sees of the host, and how often it enters the host's kernel."""

from __future__ import annotations

import os
import shlex
import time
from contextlib import closing, suppress

from ringlet.compare.instances import Request, Unavailable
from ringlet.compare.instances.system_calls import count
from ringlet.compare.measures import Found, Row
from ringlet.compare.sentences import capital, listed, of_own_kernel
from ringlet.compare.words import clean, number, quantity
from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringlet.compare.instances import Instance
    from ringlet.compare.lab import Lab
    from ringlet.compare.ways import Way

_SEE = Request(["see"])
_CALLS = Request(["calls"])
_MOST_LINES = 64
_MOST_NAMES = 40  # the most names of a folder that the workload shows
_INSIDES = 14  # the kernel's files that the workload tries to read
_LINES = 10  # the lines that the workload writes while it is counted
_PATIENCE = 120  # seconds, for a kernel to boot
_SETTLED = 0.03  # seconds without an exit, after which the VM counts as idle
_NAMESPACES = ("mnt", "net", "pid", "time", "uts")  # the namespaces that a row below shows


class Measure:
    """The isolation: a text for each fact, and a number of system calls or exits to the host."""

    name = "isolation"
    group = "isolation"
    rounds = 1
    seconds = 0.5

    def __init__(self, lab: Lab) -> None:
        self.rows = (*_FACTS, _CROSSINGS)

    def sample(self, way: Way) -> Mapping[str, Found | Exception]:
        """Runs the workload once to see what it sees, and once to count its calls or exits."""
        found: dict[str, Found | Exception] = {}
        own = set(_NAMESPACES)
        try:
            if way.own_kernel:
                found["calls"] = _exits(way)
            else:
                own, found["calls"] = _look_at(way)
        except (RingletError, OSError) as error:
            found["calls"] = error
            if not way.own_kernel:  # the owner of its namespaces is unknown
                found |= {row.name: error for row in _FACTS}
        command = shlex.join(way.command(_SEE))
        for name, text in judge(_see(way), own, way.own_kernel).items():
            found.setdefault(name, Found(text, command=command))
        return found


def judge(seen: Mapping[str, str], own: set[str], own_kernel: bool) -> dict[str, str]:
    """Returns a text for each fact: what the workload sees, and whether it is the host's.

    `own` are the workload's namespaces that differ from this process's. Raises `Unavailable` for
    an impossible value.
    """
    own_kernel = own_kernel or _text(seen, "kernel") != os.uname().release

    def whose(is_own: bool, what: str | None) -> str:
        owner = "its own" if is_own or own_kernel else "the host's"
        return f"{owner}: {what}" if what else "none"

    host_memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 10
    less_memory = (_number(seen, "memory") or host_memory) < 0.99 * host_memory
    return {
        "kernel": whose(False, _text(seen, "kernel")),
        "processes": whose("pid" in own, _text(seen, "processes")),
        "files": whose("mnt" in own, _count(seen, "rootfiles", "in /")),
        "devices": whose("mnt" in own, _count(seen, "devices", "in /dev")),
        "host-name": whose("uts" in own, _text(seen, "hostname")),
        "clock": whose("time" in own, _clock(seen)),
        "network": whose("net" in own, _names(seen, "interfaces")),
        "insides": whose(False, _count(seen, "open", f"of {_INSIDES}")),
        "hardware": whose(less_memory, _hardware(seen)),
    }


def _see(way: Way) -> dict[str, str]:
    seen: dict[str, str] = {}
    with closing(way.spawn(_SEE)) as instance:
        for _ in range(_MOST_LINES):
            for word in instance.read_line(_PATIENCE)[1].split():
                name, _, value = word.partition("=")
                seen[name] = value
            if "open" in seen:  # the last fact
                return seen
    raise Unavailable("the workload doesn't tell what it sees", "try its command")


def _text(seen: Mapping[str, str], name: str) -> str | None:
    text = clean(seen.get(name, "none"), 32)
    return None if text in ("none", "-1") else text


def _number(seen: Mapping[str, str], name: str) -> int | None:
    text = _text(seen, name)
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Unavailable(f"{name}={text} is no number", "try its command")
    return None if text is None else int(text)


def _names(seen: Mapping[str, str], name: str, most: int = 3) -> str:
    names = [clean(text, 16) for text in _all_names(seen, name)]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _count(seen: Mapping[str, str], name: str, where: str) -> str | None:
    there = len(_all_names(seen, name))
    least = "at least " if there == _MOST_NAMES else ""
    return f"{least}{there} {where}" if there else None


def _all_names(seen: Mapping[str, str], name: str) -> list[str]:
    text = seen.get(name, "none")
    return [] if text in ("", "none") else text.split(",")


def _clock(seen: Mapping[str, str]) -> str | None:
    uptime, date = _number(seen, "uptime"), _number(seen, "time")
    if uptime is None:
        return None
    wrong = date is None or abs(date - time.time()) > 60
    hours = f"{number(uptime / 3600)} h" if uptime >= 3600 else f"{uptime} s"
    return f"up for {hours}{', wrong date' if wrong else ''}"


def _hardware(seen: Mapping[str, str]) -> str | None:
    memory, cpus = _number(seen, "memory"), _number(seen, "cpus")
    if memory is None or cpus is None:
        return None
    mib = memory / 1024
    size = quantity(mib / 1024, "GiB") if mib >= 1024 else quantity(mib, "MiB")
    return f"{size}, {cpus} CPU{'' if cpus == 1 else 's'}"


def _look_at(way: Way) -> tuple[set[str], Found | Exception]:
    """Returns the workload's own namespaces, and the count of its system calls to the host."""
    with closing(way.spawn(_CALLS)) as instance:
        instance.read_line()
        pid = _workload(instance)
        own = set()
        for name in _NAMESPACES:
            with suppress(FileNotFoundError):  # the kernel lacks this namespace
                if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"):
                    own.add(name)
        try:
            calls = count(pid, lambda: instance.write(b"\n"))
        except RingletError as error:
            return own, error
    return own, Found(float(calls), command=shlex.join(way.command(_CALLS)))


def _workload(instance: Instance) -> int:
    for pid in reversed(instance.processes()):
        with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/comm") as file:
            if file.read() == "work\n":
                return pid
    raise Unavailable("the workload isn't among its processes", "try its command")


def _exits(way: Way) -> Found:
    """Counts a VM's exits for the same system calls, which the host's kernel doesn't see."""
    with closing(way.launch(_CALLS)) as instance:
        instance.read_line(_PATIENCE)
        before = _settled_exits(instance)
        instance.write(b"\n")
        for _ in range(_LINES):  # the kernel's shutdown isn't counted
            instance.read_line()
        exits = instance.exits()
    if exits is None:
        raise Unavailable("its VMM doesn't tell how many exits there were", "ask for tiny-vm")
    return Found(
        float(exits - before),
        "exits to the VMM: its own kernel has the system calls",
        command=shlex.join(way.command(_CALLS)),
    )


def _settled_exits(instance: Instance) -> int:
    """Returns the exits so far, once the VM is idle because the workload waits for input."""
    until = time.monotonic() + 2
    before, exits = -1, instance.exits() or 0
    while before != exits and time.monotonic() < until:
        time.sleep(_SETTLED)
        before, exits = exits, instance.exits() or 0
    return exits


def _fact(name: str, title: str, how: str, meaning: str) -> Row:
    return Row(name, title, "", "", f"From inside, by `see`: {how}", lambda _: meaning)


_FACTS = (
    _fact(
        "kernel",
        "kernel that the work runs on",
        "the release that uname(2) tells.",
        "A bug in the host's kernel is open to a process and to a container; a VM's work has a "
        "kernel of its own to break first.",
    ),
    _fact(
        "processes",
        "processes that it sees",
        "the numbers in /proc; whose they are, by its PID namespace.",
        "A namespace hides the host's other processes; in a VM there are none to hide.",
    ),
    _fact(
        "files",
        "files that it sees",
        "the names in /; whose they are, by its mount namespace.",
        "A container has a root of its own, which the host's kernel keeps apart from the rest; a "
        "VM has the disk that it is given, or none.",
    ),
    _fact(
        "devices",
        "devices that it sees",
        "the names in /dev; whose they are, by its mount namespace.",
        "A container's few devices are drivers of the host's kernel; a VM's are the VMM's.",
    ),
    _fact(
        "host-name",
        "host name",
        "what uname(2) tells; whose it is, by its UTS namespace.",
        "Even the name is the host's, unless a namespace or a kernel of its own has another.",
    ),
    _fact(
        "clock",
        "clock",
        "CLOCK_BOOTTIME and CLOCK_REALTIME; whose they are, by its time namespace.",
        "What shares the kernel sees how long the host has been up; a VM begins when it boots.",
    ),
    _fact(
        "network",
        "network interfaces",
        "those of /proc/net/dev; whose they are, by its network namespace.",
        "A network namespace has no interface but its own; a VM has none that it isn't given.",
    ),
    _fact(
        "insides",
        "insides of the kernel that it can read",
        f"which of {_INSIDES} files that tell of a kernel or the hardware can be read, of /proc, "
        "/sys and /dev, such as /proc/kallsyms and /dev/kmsg.",
        "What can be read under one kernel tells of the host; under a kernel of its own it tells "
        "of the VM.",
    ),
    _fact(
        "hardware",
        "memory and processors that it sees",
        "sysinfo(2) and sched_getaffinity(2).",
        "A container's limits don't change what it sees; a VM has what it was given.",
    ),
)


def _meaning_of_crossings(medians: Mapping[str, float]) -> str:
    own = of_own_kernel(medians)
    shared = {name: value for name, value in medians.items() if name not in own}
    parts = []
    if shared:
        parts.append(f"each system call enters the host's kernel: {listed(shared)}")
    if own:
        parts.append(f"a VM's go to its own kernel, and what leaves it are exits: {listed(own)}")
    return capital("; ".join(parts) or "no way's could be counted") + "."


_CROSSINGS = Row(
    "calls",
    "what reaches the host for 112 system calls",
    "",
    "lower",
    "From the byte that the workload waits for to its end: 100 getppid, 10 write, the read itself "
    "and the exit. System calls of its process by ptrace(2); of a VM the exits that reach the VMM "
    "until its last line is there.",
    _meaning_of_crossings,
)
