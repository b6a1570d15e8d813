"""Isolation: what is seen is judged by what the host itself has."""

import os
import platform
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.compare.instances import Unavailable
from ringlet.compare.lab import Lab
from ringlet.compare.measures.isolation import Measure, judge
from ringlet.compare.ways import load
from ringlet.compare.ways.process import Way

from .samples import Samples, subsets, take

RELEASE = platform.release()
NAMES = [
    "kernel", "hostname", "pid", "processes", "rootfiles", "devices", "uptime", "time", "memory",
    "cpus", "interfaces", "open",
]  # fmt: skip
NAMESPACES = ["mnt", "net", "pid", "time", "uts"]


@pytest.fixture(scope="module")
def samples() -> Samples:
    return take("isolation")


def _text(samples: Samples, way: str, row: str) -> str:
    value = samples.get(way, row).value
    assert isinstance(value, str)
    return value


def test_a_process_sees_the_host_as_it_is(samples: Samples) -> None:
    facts = {
        row: _text(samples, "process", row) for row in samples.found["process"] if row != "calls"
    }
    assert all(text.startswith("the host's: ") for text in facts.values())
    assert facts["kernel"] == f"the host's: {RELEASE}"
    assert facts["host-name"] == f"the host's: {platform.node()[:31]}"
    assert facts["files"].endswith(f"{min(len(os.listdir('/')), 40)} in /")
    assert f"{len(os.sched_getaffinity(0))} CPU" in facts["hardware"]
    for interface in os.listdir("/sys/class/net")[:1]:
        assert interface in facts["network"] or "more" in facts["network"]


def test_a_container_has_names_of_its_own_and_the_hosts_kernel(samples: Samples) -> None:
    assert _text(samples, "container", "kernel") == f"the host's: {RELEASE}"
    assert _text(samples, "container", "processes") == "its own: 1"
    assert _text(samples, "container", "files") == "its own: 6 in /"
    assert _text(samples, "container", "devices").startswith("its own: ")
    assert _text(samples, "container", "host-name") == "its own: ringlet"
    assert _text(samples, "container", "network") == "its own: lo"
    for row in ("clock", "hardware"):
        assert _text(samples, "container", row).startswith("the host's: ")


@pytest.mark.needs_kvm
def test_a_vm_has_nothing_of_the_host(samples: Samples) -> None:
    assert _text(samples, "tiny-vm", "kernel") == "its own: work"
    assert _text(samples, "tiny-vm", "hardware") == "its own: 64 MiB, 1 CPU"
    for row in ("processes", "files", "devices", "host-name", "clock", "network", "insides"):
        assert _text(samples, "tiny-vm", row) == "none"


def test_each_system_call_without_a_kernel_of_its_own_reaches_the_host(samples: Samples) -> None:
    for way in ("process", "container"):
        assert samples.number(way, "calls") == 112
    assert "112" in samples.row("calls").title


@pytest.mark.needs_kvm
def test_of_a_vm_only_exits_reach_the_vmm(samples: Samples) -> None:
    # 40 bytes of output, and a few for its input and its end.
    assert 40 <= samples.number("tiny-vm", "calls") < 80
    assert "exits" in (samples.get("tiny-vm", "calls").note or "")


def test_one_whose_workload_cant_be_found_has_no_facts_but_a_reason() -> None:
    with Lab() as lab:
        way = load("process", lab)
        assert isinstance(way, Way)
        other = Path(lab.folder) / "other"
        other.write_bytes(Path(lab.work).read_bytes())
        other.chmod(0o755)
        lab.work = str(other)
        found = Measure(lab).sample(way)
    for value in found.values():
        assert isinstance(value, Unavailable)


def _seen(**changes: str) -> dict[str, str]:
    return {**dict.fromkeys(NAMES, "none"), "kernel": RELEASE, **changes}


def test_what_shares_the_hosts_release_has_it_unless_it_has_a_kernel_of_its_own() -> None:
    assert judge(_seen(), set(), False)["kernel"] == f"the host's: {RELEASE}"
    assert judge(_seen(), set(), True)["kernel"] == f"its own: {RELEASE}"
    assert judge(_seen(kernel="4.4.0"), set(), False)["kernel"] == "its own: 4.4.0"


def test_a_namespace_of_its_own_is_what_makes_it_its_own() -> None:
    seen = _seen(processes="7", hostname="box", interfaces="lo,a,b,c,d", uptime="90000")
    host, own = judge(seen, set(), False), judge(seen, {"pid", "uts", "net", "time"}, False)
    assert (host["processes"], own["processes"]) == ("the host's: 7", "its own: 7")
    assert (host["host-name"], own["host-name"]) == ("the host's: box", "its own: box")
    assert own["network"] == "its own: lo, a, b and 2 more"
    assert own["clock"] == "its own: up for 25 h, wrong date"


def test_forty_names_may_be_more() -> None:
    names = ",".join(map(str, range(40)))
    assert judge(_seen(devices=names), set(), False)["devices"] == "the host's: at least 40 in /dev"
    assert judge(_seen(devices="null"), {"mnt"}, False)["devices"] == "its own: 1 in /dev"


@given(
    st.dictionaries(st.sampled_from(NAMES), st.text() | st.integers().map(str)),
    st.sets(st.sampled_from(NAMESPACES)),
    st.booleans(),
)
def test_whatever_a_guest_says_a_cell_stays_a_short_line(
    seen: dict[str, str], own: set[str], own_kernel: bool
) -> None:
    try:
        facts = judge(seen, own, own_kernel)
    except Unavailable:
        return
    for text in facts.values():
        assert text.isprintable()
        assert 0 < len(text) <= 100


def test_the_sentences_are_right_for_any_ways(samples: Samples) -> None:
    calls = samples.row("calls")
    assert calls.meaning({}) == "No way's could be counted."
    assert calls.meaning({"container": 112}) == (
        "Each system call enters the host's kernel: 112 (container)."
    )
    assert calls.meaning({"tiny-vm": 54}) == (
        "A VM's go to its own kernel, and what leaves it are exits: 54 (tiny VM)."
    )
    for row in samples.measure.rows:
        for medians in subsets(samples.medians("calls") if row is calls else {}):
            assert row.meaning(medians).endswith(".")
