"""The sentences about a whole report say what the samples carry, and no more."""

from statistics import median

from ringlet.compare.report import Cell, Others, ReportedWay
from ringlet.compare.showing.verdict import disturbed, incomplete, verdict

from ..reports import sample, small

NEAR = [9.0, 10.0, 11.0, 10.0, 9.5, 10.5, 12.0]


def test_an_incomplete_report_says_whether_it_was_interrupted_or_short_of_time() -> None:
    report = sample()
    assert incomplete(report) == ""
    report.complete = False
    assert incomplete(report) == "It was interrupted, or ran out of time: not all is measured."
    report.stopped = "time"
    assert "interrupted" not in incomplete(report)
    assert "--seconds" in incomplete(report)
    report.stopped = "interrupted"
    assert "time" not in incomplete(report)


def test_other_work_of_the_host_is_told_if_there_was_much() -> None:
    report = sample()  # of 12 processors
    assert disturbed(report) == ""
    report.others = Others(busy=0.5, steal=0.1, load=0.3)
    assert disturbed(report) == ""
    report.others = Others(busy=3.21, steal=0.5, load=4.2)
    assert disturbed(report) == (
        "Other work kept 3.2 of 12 processors busy and the hypervisor below took away 0.50 of 12 "
        "processors (steal time) while this was measured, and the load average before was 4.2: "
        "the numbers are noisy."
    )


def verdict_of(**samples: list[float]) -> str:
    """The verdict on these samples of a loop; `_` in a name is a dash."""
    cells = {
        name.replace("_", "-"): Cell(samples=values, median=median(values))
        for name, values in samples.items()
    }
    report = small(cells, name="loop")
    report.ways = [ReportedWay(name=name, title=name, about="") for name in cells]
    return verdict(report)


def test_the_verdict_has_what_the_samples_carry_and_no_more() -> None:
    noisy = [6.0, 19.0, 12.0, 30.0, 2.0, 18.0, 19.0]
    assert verdict_of(process=NEAR, container=[x * 8 for x in NEAR], tiny_vm=NEAR) == (
        "Beside the process, the container takes 8x as long to compute; the tiny VM takes about 1x "
        "as long."
    )
    assert "tiny VM" not in verdict_of(process=NEAR, container=[80.0] * 6, tiny_vm=noisy)
    assert verdict_of(process=NEAR, tiny_vm=noisy) == ""
    assert verdict_of(process=[10.0], container=[80.0]) == ""
    assert verdict_of(process=NEAR) == verdict_of() == ""
