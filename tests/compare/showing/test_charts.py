"""The charts of a report: well-formed, the same each time, and no way for what a report says."""

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.compare.report import Cell, ReportedWay
from ringlet.compare.showing import charts
from ringlet.compare.showing.stages import phase_colour
from ringlet.compare.words import clean
from ringlet.errors import RingletError

from ...examples import examples
from ..reports import HOSTILE, sample, small

XLINK = "{http://www.w3.org/1999/xlink}href"
ELEMENTS = {"svg", "defs", "g", "path", "use", "text"}
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(), max_size=40))
FLOATS = st.one_of(st.floats(), st.floats(0, 10), st.sampled_from([0.0, 1e308, 5e-324, 1e-30]))
CELLS = st.builds(
    Cell,
    samples=st.lists(FLOATS, max_size=20),
    median=st.none() | FLOATS,
    spread=st.none() | FLOATS,
    error=st.none() | st.just("no"),
    phases=st.dictionaries(TEXTS, FLOATS, max_size=5),
)


def check(svg: str) -> list[str]:
    """What the texts of a chart say, when it is well-formed and only what a chart needs."""
    root = ET.fromstring(svg)
    ids = [node.attrib["id"] for node in root.iter() if "id" in node.attrib]
    assert len(ids) == len(set(ids))
    _, _, width, height = (float(number) for number in root.attrib["viewBox"].split())
    assert 0 < width < 1000
    assert 0 < height < 20000
    for node in root.iter():
        assert node.tag.removeprefix("{http://www.w3.org/2000/svg}") in ELEMENTS
        for name, value in node.attrib.items():
            assert name != "style"
            assert not name.startswith("on")
            assert name == "aria-label" or "url(" not in value
            if name == XLINK:
                assert value[0] == "#"
                assert value[1:] in ids
            if name in ("d", "x", "y", "transform"):
                assert not re.search("nan|inf", value)
                assert max(abs(float(n)) for n in re.findall(r"-?[\d.]+", value)) < 20000
    return [node.text or "" for node in root.iter() if node.tag.endswith("}text")]


def test_a_report_has_a_few_charts() -> None:
    assert charts.names(sample()) == [
        "startup", "startup-phases", "memory", "memory-instances", "processor", "exits", "disk",
        "neighbour", "density",
    ]  # fmt: skip


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("name", charts.names(sample()))
def test_a_chart_is_well_formed_and_the_same_each_time(name: str, narrow: bool) -> None:
    svg = charts.draw(sample(), name, narrow)
    assert "Container" in " ".join(check(svg))
    assert charts.draw(sample(), name, narrow) == svg
    assert ET.fromstring(svg).attrib["role"] == "img"
    assert "Container" in ET.fromstring(svg).attrib["aria-label"]
    addresses = set(re.findall(r"\w+://[^\s\"']*", svg))
    assert addresses == {"http://www.w3.org/2000/svg"} | ({charts.XLINK} & addresses)


def test_no_two_charts_share_an_id() -> None:
    found: list[str] = []
    for name in charts.names(sample()):
        for narrow in (False, True):
            found += re.findall(' id="([^"]*)"', charts.draw(sample(), name, narrow))
    assert found
    assert len(found) == len(set(found))


def test_every_way_has_its_number_and_a_way_without_has_no_bar() -> None:
    texts = check(charts.draw(sample(), "exits"))
    assert texts.count("Tiny VM") == 2
    assert texts.count("Process") == 1  # a system call, and no exit
    assert "crun" not in texts


def test_numbers_far_apart_have_points_on_a_logarithmic_scale() -> None:
    near = {name: Cell(median=value) for name, value in {"a": 1.0, "b": 20.0}.items()}
    far = {name: Cell(median=value) for name, value in {"a": 1.0, "b": 20.1}.items()}
    assert "logarithmic scale" not in check(charts.draw(small(near), "g"))
    assert "logarithmic scale" in check(charts.draw(small(far), "g"))


def test_the_phases_are_named_with_their_numbers() -> None:
    cell = Cell(median=10, phases={"vm_created": 7, "image_loaded": 3})
    texts = check(charts.draw(small({"a": cell}), "g-phases"))
    assert "vm created 7, image loaded 3" in texts


STEPS = ("a command, to its start", "a command, to its end", "a function, to its end")


@pytest.mark.parametrize("narrow", [False, True])
def test_the_ways_to_steps_are_one_chart(narrow: bool) -> None:
    report = small({"a": Cell(median=1), "b": Cell(median=2)})
    report.ways = [ReportedWay(name=name, title=f"way {name}", about="") for name in "ab"]
    first = report.measures[0]
    report.measures = [
        msgspec.structs.replace(first, title=title, name=title, unit="ms") for title in STEPS
    ]
    report.measures.append(msgspec.structs.replace(first, title="alone", name="alone", unit="s"))
    texts = check(charts.draw(report, "g", narrow))
    for text, count in (("A command", 1), ("A function", 1), ("way a", 3), ("its end", 1)):
        assert texts.count(text) == count
    assert {"its start", "Alone", "1 ms", "2 ms", "2 s"} <= set(texts)
    told = ET.fromstring(charts.draw(report, "g", narrow)).attrib["aria-label"]
    assert "a command, way b: its start 2 ms, its end 2 ms" in told


def test_a_colour_stands_for_one_phase() -> None:
    cells = {
        "a": Cell(median=3, phases={"x": 1, "y": 2}),
        "b": Cell(median=3, phases={"z": 1, "y": 2}),
    }
    svg = charts.draw(small(cells), "g-phases")
    fills = re.findall('fill="(#[0-9a-f]{6})"', svg)
    used = [fills.count(phase_colour(at)) for at in range(3)]
    assert used == [2, 3, 2]  # x, y and z: in each bar that has it, and beside its name
    assert {"x", "y", "z"} <= set(check(svg))
    assert len({phase_colour(at) for at in range(64)}) == 64


def test_what_phases_are_of_is_not_called_time() -> None:
    cell = Cell(median=10, phases={"of the process": 7, "of KVM": 3})
    assert "time" not in " ".join(check(charts.draw(small({"a": cell}, text="KiB"), "g-phases")))


def test_phases_that_another_measure_goes_on_with_are_drawn_once() -> None:
    report = small({"a": Cell(median=3, phases={"x": 1, "y": 2})}, text="short")
    for phases in ({"x": 1.0, "y": 2.0, "z": 3.0}, {"x": 1.0, "other": 2.0}):
        report.measures += small({"a": Cell(median=6, phases=phases)}, text="long").measures
    texts = check(charts.draw(report, "g-phases"))
    assert texts.count("Short") == 0
    assert texts.count("Long") == 2


def test_a_note_is_marked_in_the_chart() -> None:
    texts = check(charts.draw(sample(), "disk"))
    assert "¹ direct, past the cache of its own that the other ways don't have" in texts
    assert len([text for text in texts if text.endswith(" µs¹")]) == 3


def test_a_file_is_what_its_suffix_says(tmp_path: Path) -> None:
    charts.write(sample(), "disk", str(tmp_path / "a.svg"))
    svg = (tmp_path / "a.svg").read_text()
    assert "Container" in check(svg)
    background = next(node for node in ET.fromstring(svg).iter() if node.tag.endswith("}path"))
    assert background.attrib["fill"] == "#ffffff"  # of a page that may be dark
    charts.write(sample(), "disk", str(tmp_path / "a.PNG"))
    assert (tmp_path / "a.PNG").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_what_cannot_be_drawn_is_told_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(RingletError, match=r"can't draw a chart as a\.pdf") as told:
        charts.write(sample(), "disk", "a.pdf")
    assert ".svg or .png" in told.value.hint
    with pytest.raises(RingletError, match="no chart is called 'disc'") as told:
        charts.draw(sample(), "disc")
    assert "startup, startup-phases" in told.value.hint
    with pytest.raises(RingletError, match="can't write"):
        charts.write(sample(), "disk", str(tmp_path / "no" / "a.svg"))


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RingletError) as told:
        charts.require()
    assert told.value.hint == f"{sys.executable} -m pip install matplotlib"


@settings(max_examples=examples(60), deadline=None)
@given(
    st.dictionaries(TEXTS, CELLS, max_size=4),
    TEXTS,
    st.sampled_from(["m", "m-1", "m-999999", "m-0"]),
    st.booleans(),
)
def test_whatever_a_report_says_its_charts_are_well_formed(
    cells: dict[str, Cell], text: str, name: str, narrow: bool
) -> None:
    report = small(cells, text=text, name=name, group=text)
    first = report.measures[0]
    ten = small(cells, text=text, name="m-10", group=text).measures[0]
    report.measures.append(ten)
    for chart in charts.names(report):
        texts = check(charts.draw(report, chart, narrow))
        if len(clean(text)) <= 5 and chart.endswith("g"):
            assert clean(first.title) in texts


def test_no_report_makes_a_chart_without_an_end() -> None:
    report = small({str(at): Cell(median=float(at), samples=[1.0] * 10000) for at in range(9)})
    report.measures *= 50
    svg = charts.draw(report, "g")
    check(svg)
    assert len(svg) < 1_000_000


@pytest.mark.parametrize("cells", [{}, {"a": Cell()}, {"a": Cell(median=float("nan"))}])
def test_where_there_are_no_numbers_there_is_no_chart(cells: dict[str, Cell]) -> None:
    assert charts.names(small(cells)) == []
    with pytest.raises(RingletError, match="no chart is called 'g'"):
        charts.draw(small(cells), "g")
