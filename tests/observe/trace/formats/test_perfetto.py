"""The file for Perfetto: by the description of the Trace Event Format.

Source: "Trace Event Format", JSON Object Format; Metadata Events ("M": process_name and
thread_name have args.name); Complete Events ("X": ts and dur in microseconds, nested by time).
"""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ringlet.observe.exits.exit_event import EXITS, Exit
from ringlet.observe.trace.formats import make

from ...samples import EXIT, exit, summary

NAMES = {"process_name", "thread_name", "missing_events"}


def written(exits: list[Exit], gap: int = 0) -> dict[str, Any]:
    format = make("perfetto", EXITS, title="a guest", most=1)
    data = format.begin() + format.events(exits) + (format.gap(gap) if gap else b"")
    made: dict[str, Any] = json.loads(data + format.end(summary(exits)))
    return made


def check(event: dict[str, Any]) -> None:
    """The keys that the description requires, of the types that it gives."""
    assert isinstance(event["name"], str)
    assert isinstance(event["pid"], int)
    assert isinstance(event["tid"], int)
    assert isinstance(event["ts"], (int, float))
    assert event["ts"] >= 0
    if event["ph"] == "M":
        assert event["name"] in NAMES
        assert isinstance(event["args"]["name"], str)
    else:
        assert event["ph"] == "X"
        assert event["dur"] >= 0
        assert isinstance(event["cat"], str)
        assert isinstance(event.get("args", {}), dict)


@given(st.lists(EXIT, max_size=5))
def test_each_event_is_of_the_trace_event_format(exits: list[Exit]) -> None:
    made = written(exits, gap=2)
    assert made["displayTimeUnit"] in ("ms", "ns")
    for event in made["traceEvents"]:
        check(event)
    assert made["otherData"]["count"] == len(exits)


@given(st.lists(EXIT, min_size=1, max_size=5))
def test_each_vcpu_is_a_named_track_and_each_exit_a_slice_on_it(exits: list[Exit]) -> None:
    events = written(exits)["traceEvents"]
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert set(tracks.values()) == {f"vCPU {each.vcpu}" for each in exits}
    slices = [e for e in events if "args" in e and e["ph"] == "X"]
    assert [e["args"] for e in slices] == [json.loads(json.dumps(e.as_json())) for e in exits]
    assert [tracks[e["tid"]] for e in slices] == [f"vCPU {each.vcpu}" for each in exits]


def test_kvm_and_python_lie_inside_the_exit_and_the_guest_before_it() -> None:
    _, _, guest, whole, kvm, python = written([exit()])["traceEvents"]
    assert [e["name"] for e in (guest, whole, kvm, python)] == [
        "guest", "com1 THR write", "KVM", "Python",
    ]  # fmt: skip
    assert (whole["ts"], whole["dur"]) == (1045.0, 11.0)
    assert (guest["ts"], guest["dur"]) == (1043.0, 2.0)
    assert (kvm["ts"], kvm["dur"]) == (1045.0, 8.0)
    assert (python["ts"], python["dur"]) == (1053.0, 3.0)
