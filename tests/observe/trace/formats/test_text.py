"""The lines for people: in columns, and harmless for a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from ringlet.observe.exits.exit_event import EXITS, Exit
from ringlet.observe.trace.formats import make
from ringlet.observe.trace.formats.text import Text

from ...samples import EXIT, exit, summary


def test_the_headings_stand_above_the_columns() -> None:
    text = Text(EXITS)
    head, first, second, *rest = text.events([exit(), exit(value=0x65)]).decode().split("\n")
    assert rest == [""]
    for column in ("exit", "register", "value", "instruction", "in"):
        assert first[head.index(column) - 1] == " "
        assert first[head.index(column)] != " "
    assert first[head.index("value") :].startswith("0x48 'H'")
    assert second[head.index("value") :].startswith("0x65 'e'")
    assert text.events([exit()]).count(b"\n") == 1


@given(st.lists(EXIT, max_size=5))
def test_no_control_character_reaches_the_terminal(exits: list[Exit]) -> None:
    text = Text(EXITS, "\r\n")
    data = text.begin() + text.events(exits) + text.gap(3) + text.end(summary(exits))
    for line in data.decode().removesuffix("\r\n").split("\r\n"):
        assert line.isprintable()


@given(st.lists(EXIT, max_size=5))
def test_an_exit_is_one_line(exits: list[Exit]) -> None:
    assert Text(EXITS).events(exits).count(b"\n") == 1 + len(exits)


def test_a_gap_is_told_and_the_summary_comes_last() -> None:
    text = make("text", EXITS, most=1)
    assert (
        text.gap(2)
        == b"... 2 exits are missing: whoever reads the trace was too slow for --buffer\n"
    )
    assert text.end(summary([exit()], 1.0)).startswith(b"1 exit in 1.00 s\n\nkind")
