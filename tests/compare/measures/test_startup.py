"""Startup: the steps come in their order, and the parts add up to the whole."""

import pytest

from ringlet.compare.ways import find

from .samples import Samples, subsets, take

STEPS = ("first-instruction", "first-output", "end")


@pytest.fixture(scope="module")
def samples() -> Samples:
    return take("startup")


@pytest.mark.parametrize("begin", ["command", "inside"])
def test_the_first_instruction_comes_before_the_output_and_that_before_the_end(
    samples: Samples, begin: str
) -> None:
    assert {"process", "container"} <= set(samples.found)
    for way in samples.found:
        times = [samples.number(way, f"{begin}-{step}") for step in STEPS]
        assert 0 < times[0] <= times[1] <= times[2] < 30_000


@pytest.mark.parametrize("begin", ["command", "inside"])
def test_the_parts_of_the_whole_add_up(samples: Samples, begin: str) -> None:
    for way in samples.found:
        found = samples.get(way, f"{begin}-end")
        assert min(found.phases.values()) >= 0
        assert sum(found.phases.values()) == pytest.approx(found.value)
        assert list(found.phases)[-1] == "end"
        assert not samples.get(way, f"{begin}-first-output").phases


@pytest.mark.needs_root
def test_a_container_says_what_its_start_is_made_of(samples: Samples) -> None:
    steps = list(samples.get("container", "inside-end").phases)
    assert steps[:6] == ["clone", "mounts", "pivot", "created", "exec", "first instruction"]


@pytest.mark.needs_kvm
def test_a_vm_says_what_its_start_is_made_of(samples: Samples) -> None:
    assert {"vm created", "image loaded", "first instruction"} <= set(
        samples.get("tiny-vm", "inside-end").phases
    )


def test_each_number_has_a_command(samples: Samples) -> None:
    for found in samples.found.values():
        for name, value in found.items():
            command = getattr(value, "command", "")
            assert command.endswith(" start") == name.startswith("command")


def test_the_sentence_names_all_that_was_measured(samples: Samples) -> None:
    for row in samples.measure.rows:
        for medians in subsets(samples.medians(row.name)):
            sentence = row.meaning(medians)
            assert all(find(name).title in sentence for name in medians)
            assert bool(sentence) == bool(medians)


def test_the_sentence_compares_with_the_process(samples: Samples) -> None:
    row = samples.row("command-end")
    assert row.meaning({"process": 2.0, "container": 50.0, "tiny-vm": 3.0}) == (
        "As a command, the whole run takes 25x as long in the container and 1.50x as long in the "
        "tiny VM as in the process."
    )
    assert row.meaning({"tiny-vm": 5.0, "container": 2.0}) == (
        "As a command, the whole run takes 2.5x as long in the tiny VM as in the container."
    )
