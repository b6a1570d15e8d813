"""The page of a report: well-formed, complete, without a script or an address outside of it."""

import base64
import hashlib
import re
import sys
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.compare.report import Cell, Report, ReportedWay
from ringlet.compare.showing import page
from ringlet.compare.showing.verdict import verdict
from ringlet.compare.words import clean, heading
from ringlet.errors import RingletError

from ...examples import examples
from ..reports import BROKEN, HOSTILE, WAYS, sample, small

EMPTY = {"meta", "br", "wbr"}
ELEMENTS = EMPTY | {
    "html", "head", "title", "style", "body", "header", "main", "section", "h1", "h2", "h3", "p",
    "a", "ul", "ol", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td", "span",
    "b", "strong", "sup", "code", "details", "summary", "figure", "div",
    "nav", "svg", "defs", "g", "path", "use", "text", "rect",
}  # fmt: skip
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(), max_size=40))


class Page(HTMLParser):
    """Reads a page, and asserts what holds for each."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.style = self.policy = ""
        self.feed(html)
        self.close()
        assert not self.open
        assert len(set(self.ids)) == len(self.ids)
        assert set(self.targets) <= set(self.ids)
        digest = base64.b64encode(hashlib.sha256(self.style.encode()).digest()).decode()
        assert self.policy == (
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        )
        assert not re.search(r"url\(|@import|expression|</", self.style)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ELEMENTS
        found = {name: value or "" for name, value in attrs}
        assert len(found) == len(attrs)
        self.tags.append((tag, found))
        for name, value in found.items():
            assert not name.startswith("on")
            assert name not in ("style", "src", "srcset", "action", "formaction")
            if name == "id":
                self.ids.append(value)
            if name in ("href", "xlink:href"):
                assert value.startswith("#")
                self.targets.append(value[1:])
            if name in ("aria-labelledby",):
                self.targets.append(value)
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data!r}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data!r}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data!r}")


@cache
def rendered() -> str:
    """The page of the sample."""
    return page.render(sample())


def test_the_page_says_all_that_the_report_says() -> None:
    report = sample()
    found = Page(rendered())
    for way in report.ways:
        assert heading(way.about) in found.text
    assert f"Not here: {BROKEN}" in found.text
    for measure in report.measures:
        for said in (measure.title, measure.meaning, measure.how):
            for part in heading(said).split("`"):  # code is between two
                assert part.strip() in found.text
        for cell in measure.ways.values():
            for text in (cell.note, cell.command):
                assert text is None or text in found.text
            if cell.error not in (None, BROKEN):
                assert heading(cell.error or "") in found.text
    for fact in (report.host.machine, report.host.kernel, "31 GiB", "crun 1.8.1", "12 CPUs"):
        assert fact in found.text
    assert "in hardware: the processor runs the guests itself" in found.text
    assert "2026-11-24T14:48:43Z, in 96.4 seconds" in found.text
    assert "incomplete" not in found.text


def test_a_note_is_told_once_below_the_table() -> None:
    found = Page(rendered())
    note = "Linux VM: direct, past the cache of its own that the other ways don't have"
    assert found.text.count(note) == 1
    assert len([target for target in found.targets if "-note-" in target]) == 3


def test_a_table_has_heads_and_a_chart_is_told_in_words() -> None:
    found = Page(rendered())
    heads = [attributes for tag, attributes in found.tags if tag == "th"]
    assert {head["scope"] for head in heads} == {"col", "row"}
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    drawn = [attributes for tag, attributes in found.tags if tag == "svg"]
    assert all(a.get("aria-hidden") == "true" or "Container" in a["aria-label"] for a in drawn)
    assert len([a for a in drawn if a.get("role") == "img"]) == 18


@pytest.mark.parametrize(
    ("kvm", "told"),
    [("software", "KVM is in software here."), ("none", "no KVM;"), ("hardware", "in hardware:")],
)
def test_the_kind_of_kvm_is_told_in_plain_words(kvm: str, told: str) -> None:
    report = small({})
    report.host = type(report.host)(**{**_fields(report.host), "kvm": kvm})
    assert told in Page(page.render(report)).text


def _fields(host: object) -> dict[str, object]:
    return {name: getattr(host, name) for name in host.__struct_fields__}  # type: ignore[attr-defined]


def test_an_incomplete_run_is_told() -> None:
    report = small({})
    assert not report.complete
    assert "This run is incomplete." in Page(page.render(report)).text


NEAR = [1.9, 2.0, 2.1, 2.0, 1.8, 2.2]


def compared(**samples: list[float]) -> str:
    """The text of the page of these ways, each with the name as its title."""
    cells = {name: Cell(samples=of, median=median(of), spread=0.2) for name, of in samples.items()}
    report = small(cells, text="t")
    report.ways = [ReportedWay(name=name, title=name, about="") for name in cells]
    return Page(page.render(report)).text


def test_ratios_are_to_the_first_way_whichever_is_better() -> None:
    text = compared(a=NEAR, b=[4 * x for x in NEAR], c=[x / 4 for x in NEAR])
    assert "8 t ±0.10 4x" in text
    assert "0.500 t ±0.10 0.25x" in text
    assert "2 t ±0.10 b" in text  # the next cell: the first way has no ratio
    assert "so many times what it is of a" in text


def test_no_ratio_is_shown_that_the_spread_does_not_carry() -> None:
    noisy = [1.0, 3.0, 9.0, 2.0, 1.5, 4.0]
    assert not re.search(r"\d+x", compared(a=NEAR, b=noisy, c=[8.0]).replace("2x: so", ""))


def test_the_verdict_comes_first_and_the_parts_are_linked() -> None:
    report = sample()
    report.measures[12].name = "system-call"
    html = page.render(report)
    found = Page(html)
    said = verdict(report)
    assert said.startswith("Beside the process, the container takes about 1x as long to compute")
    assert found.text.index(said) < found.text.index("asked of each")
    header = html.partition("</header>")[0]
    links = re.findall('<a href="#([^"]*)"', header)
    assert links == [id for id in found.ids if not re.search("-note-|^(?!group|ways|made)", id)]


def test_numbers_that_a_chart_shows_are_folded_below_it() -> None:
    open_parts = re.sub("<details>.*?</details>", "", rendered(), flags=re.DOTALL)
    assert "its own: work" in open_parts  # which no chart shows
    tables = re.findall("<table>.*?</table>", open_parts, flags=re.DOTALL)
    assert len(tables) == 1
    assert "<b>" not in tables[0]


def test_a_page_is_written_or_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.write(sample(), str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").read_text() == rendered()
    with pytest.raises(RingletError, match="can't write"):
        page.write(small({}), str(tmp_path))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RingletError) as told:
        page.write(sample(), str(tmp_path / "other.html"))
    assert told.value.hint == f"{sys.executable} -m pip install matplotlib"
    assert not (tmp_path / "other.html").exists()


def hostile(text: str) -> Report:
    cells = {name: Cell(text=text, error=None, note=text, command=text) for name in WAYS}
    cells["process"] = Cell(
        samples=[1.0, float("nan")], median=1.0, spread=0.1, note=text, phases={text: 1, "b": 2},
        command=text,
    )  # fmt: skip
    cells["crun"] = Cell(error=text)
    cells[text] = Cell(median=float("inf"), spread=float("nan"), command=text)
    return small(cells, text=text, group=text)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_text(text: str) -> None:
    html = page.render(hostile(text))
    found = Page(html)
    assert clean(text, 40) in found.text
    addresses = set(re.findall(r"""(?:href|src|content)="(\w+:[^"]*)""", html))
    assert not addresses


@settings(max_examples=examples(40), deadline=None)
@given(TEXTS, st.floats(), st.lists(st.floats(), max_size=9))
def test_whatever_a_report_says_the_page_is_well_formed(
    text: str, median: float, samples: list[float]
) -> None:
    report = hostile(text)
    report.measures[0].ways["tiny-vm"] = Cell(
        samples=samples, median=median, spread=median, note=text, command=text
    )
    del report.measures[0].ways["linux-vm"]
    Page(page.render(report))


def test_a_report_of_nothing_is_a_page_still() -> None:
    report = small({})
    for measures in (report.measures, []):
        report.measures = measures
        assert "0 ways" in Page(page.render(report)).text
