"""The lines of a run's output."""

import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.compare.instances import Unavailable
from ringlet.compare.instances.streams import Streams

pytestmark = pytest.mark.usefixtures("no_leak")


@given(st.lists(st.one_of(st.binary(max_size=99), st.text("a\n\r").map(str.encode)), max_size=20))
def test_lines_are_the_same_in_whatever_parts_they_come(parts: list[bytes]) -> None:
    data = b"".join(parts)
    with Streams(["it"]) as streams:
        for part in parts:
            os.write(streams.stdio[1], part)
            with suppress(Unavailable):  # a line that isn't there yet doesn't lose its beginning
                first = streams.read_line(0)
                streams._lines.appendleft(first)
        streams.hand_over()
        whole = data.split(b"\n")
        if not whole[-1]:
            whole.pop()
        assert _lines(streams) == [line.rstrip(b"\r").decode(errors="replace") for line in whole]


def _lines(streams: Streams) -> list[str]:
    found = []
    with suppress(Unavailable):
        while True:
            found.append(streams.read_line()[1])
    return found
