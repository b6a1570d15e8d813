"""An exit as an event: its group, its parts, and its texts."""

from itertools import pairwise

import pytest
from hypothesis import given

from ringlet.observe.exits.exit_event import Exit

from ..samples import EXIT, exit


def cells(each: Exit) -> dict[str, str]:
    headings = (column.heading for column in each.SUBJECT.columns)
    return dict(zip(headings, each.cells(), strict=True))


def test_people_see_the_register_the_value_and_the_instruction() -> None:
    assert cells(exit()) == {
        "seconds": "0.001053", "vCPU": "0", "exit": "port write", "at": "0x3f8",
        "register": "com1 THR", "value": "0x48 'H'", "instruction": "out dx, al",
        "in": "pvh_start+0x22", "guest": "2.00 µs", "KVM": "8.00 µs", "Python": "3.00 µs",
    }  # fmt: skip


def test_a_character_stands_beside_registers_of_characters_alone() -> None:
    assert cells(exit(register="LSR", value=0x60))["value"] == "0x60"
    assert cells(exit(value=0x0A))["value"] == "0x0a"
    assert cells(exit(value=0x1B))["value"] == "0x1b"
    assert cells(exit(size=4, value=0x48))["value"] == "0x00000048"


def test_what_isnt_known_is_empty() -> None:
    shown = cells(Exit(time=1.0, kind="interrupted", vcpu=1, guest=0.0, kvm=0.0))
    assert {name for name, text in shown.items() if text} == {
        "seconds", "vCPU", "exit", "guest", "KVM",
    }  # fmt: skip


def test_an_address_without_a_device_and_code_without_a_symbol_are_said() -> None:
    shown = cells(exit(port=None, address=0xD0000000, device=None, register=None, function=None))
    assert (shown["at"], shown["register"], shown["in"]) == ("0xd0000000", "no device", "0x100122")


def test_a_string_instruction_shows_how_often() -> None:
    assert cells(exit(kind="port-string", value=None, count=12))["value"] == "12 times"


def test_the_title_is_short() -> None:
    assert exit().title == "com1 THR write"
    assert exit(device=None, register=None).title == "no device write"
    assert exit(kind="shutdown", access=None, device=None, register=None).title == "shutdown"


@given(EXIT)
def test_the_parts_follow_each_other_and_begin_in_the_trace(each: Exit) -> None:
    parts = each.parts
    assert parts[0].start >= 0
    for before, after in pairwise(parts):
        assert after.start >= before.start
        assert before.start + before.seconds <= after.start + each.kvm + 1e-9
    inside = [part for part in parts if part.start >= each.start]
    assert sum(part.seconds for part in inside) == pytest.approx(each.seconds, abs=1e-9)
    assert each.start >= 0


@given(EXIT)
def test_as_json_has_the_fields_that_are_known(each: Exit) -> None:
    fields = each.as_json()
    assert None not in fields.values()
    assert {"time", "kind", "vcpu", "guest", "kvm"} <= fields.keys()
