"""The page: self-contained, complete, and harmless whatever the trace holds."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.observe.exits.exit_event import EXITS, Exit
from ringlet.observe.trace.formats import make
from ringlet.observe.trace.formats.page import Page

from ...samples import EXIT, HOSTILE, exit, summary

EMPTY = {"meta", "rect"}


class Reader(HTMLParser):
    """Checks that tags are balanced, and keeps the names of tags and attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page(exits: list[Exit], *, most: int = 1000, title: str = "a guest") -> Reader:
    format = make("html", EXITS, title=title, most=most)
    assert format.begin() + format.events(exits) == b""
    return Reader(format.end(summary(exits)).decode())


@given(st.lists(EXIT, max_size=5))
def test_a_page_is_well_formed_and_loads_and_runs_nothing(exits: list[Exit]) -> None:
    made = page(exits)
    assert not made.tags & {"script", "link", "img", "iframe", "object", "use", "image"}
    assert not {name for name in made.attributes if name.startswith("on")}
    assert not made.attributes & {"src", "href", "style"}


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_trace_holds_is_shown_as_text(text: str) -> None:
    made = page([exit(device=text, function=text, instruction=text)], title=text)
    assert "script" not in made.tags
    assert "\x1b" not in made.text


def test_the_page_shows_timeline_summary_and_exits() -> None:
    made = page([exit(), exit(time=3.0, device="cmos")])
    for words in ("Exits of a guest", "2 exits", "vCPU 0", "guest", "Python", "cmos", "out dx, al"):
        assert words in made.text


def test_the_page_keeps_no_more_than_it_may_and_says_so() -> None:
    format = Page(EXITS, "a guest", 3)
    for _ in range(10):
        format.events([exit(), exit()])
    format.gap(5)
    made = Reader(format.end(summary([exit()] * 20)).decode())
    assert "lack 22 exits" in made.text
    assert made.text.count("pvh_start+0x22") == 3


def test_a_page_without_exits_is_a_page() -> None:
    assert "0 exits" in page([]).text


def test_a_page_says_that_it_has_no_zoom_and_lists_no_more_than_300_exits() -> None:
    assert "This page has no zoom." in page([exit()]).text
    assert "one by one" not in page([exit()]).text
    made = page([exit(device=f"last-{at}") for at in range(301)])
    assert "This page lists 300 exits one by one." in made.text
    assert made.text.count("pvh_start+0x22") == 300
