"""Memory: what was given isn't what is taken, and the rest is what is around the work."""

import pytest

from ringlet.compare import ways
from ringlet.compare.instances import MIB, Unavailable
from ringlet.compare.instances.footprint import available
from ringlet.compare.lab import Lab, Settings
from ringlet.compare.measures import Found
from ringlet.compare.measures.memory import TOUCHED, Measure

from .samples import Samples, subsets, take


@pytest.fixture(scope="module")
def samples() -> Samples:
    return take("memory")


def test_a_bare_process_has_nothing_around_it_and_others_do(samples: Samples) -> None:
    for way in samples.found:
        beyond = samples.number(way, "each-1")
        assert beyond < 0.1 if way == "process" else 1 < beyond < 200


def test_what_many_share_is_there_once(samples: Samples) -> None:
    for way in samples.found:
        one, ten, twenty = (samples.number(way, f"each-{count}") for count in (1, 10, 20))
        assert one + 0.01 >= ten
        assert ten + 0.5 >= twenty >= 0


def test_memory_is_taken_as_it_is_touched(samples: Samples) -> None:
    for way in samples.found:
        idle, used = samples.number(way, "idle"), samples.number(way, "used")
        assert idle < 64
        assert abs(used - idle - TOUCHED) < 3


def test_the_host_has_less_memory_for_them(samples: Samples) -> None:
    # Less exact than the rest: others on the host take memory meanwhile, and give it back.
    for way in samples.found:
        if way != "process":
            assert samples.number(way, "total") > samples.number(way, "each-20") / 3


def test_page_tables_are_of_the_processes_and_of_kvm(samples: Samples) -> None:
    for way in samples.found:
        found = samples.get(way, "page-tables")
        assert samples.number(way, "page-tables") >= 4
        if found.phases:
            assert way == "tiny-vm"
            assert sum(found.phases.values()) == found.value


def test_each_number_has_its_command(samples: Samples) -> None:
    for way, found in samples.found.items():
        for row in found:
            command = samples.get(way, row).command or ""
            assert "wait" in command or "touch" in command


@pytest.mark.parametrize("most", [1, 4, 10, 1000])
def test_the_rows_are_for_as_many_instances_as_there_may_be(most: int) -> None:
    with Lab(Settings(most_instances=most)) as lab:
        rows = [row.name for row in Measure(lab).rows]
    counts = sorted({1, min(most, 10), min(most, 100)})
    assert rows[: len(counts)] == [f"each-{count}" for count in counts]
    assert rows[len(counts) :] == ["total", "page-tables", "idle", "used"]


def test_too_many_for_the_memory_are_refused_and_the_rest_is_there() -> None:
    with Lab() as lab:
        lab.settings = Settings(most_instances=20, memory_share=5 * MIB / available())
        found = Measure(lab).sample(ways.load("process", lab))
    assert isinstance(found["each-10"], Unavailable)
    assert "10 at once would take" in found["each-10"].message
    assert isinstance(found["total"], Unavailable)
    for row in ("each-1", "idle", "used", "page-tables"):
        assert isinstance(found[row], Found)


def test_the_sentences_are_right_for_any_ways(samples: Samples) -> None:
    each = samples.row("each-1")
    bare = "A bare process has nothing around it: the others are compared with it."
    assert each.meaning({}) == each.meaning({"process": 0}) == bare
    assert each.meaning({"process": 0, "container": 12.5}) == (
        "What is around the work takes 12.5 MiB (container)."
    )
    idle = samples.row("idle")
    assert idle.meaning({"process": 1}) == "A process takes memory as it uses it."
    assert idle.meaning({"container": 3, "tiny-vm": 12.5, "qemu": 20}) == (
        "A VM that is given memory doesn't take all of it: 12.5 MiB (tiny VM) and 20 MiB (QEMU "
        "microvm)."
    )
    for row in samples.measure.rows:
        for medians in subsets(samples.medians(row.name)):
            assert row.meaning(medians).endswith(".")
