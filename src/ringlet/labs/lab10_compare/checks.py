"""The checks of lab 10: the report, the student's rules on reports that nobody has seen, answers.

No number is expected of a report. It has to be whole, its numbers have to fit together, and it has
to be of this machine. In an emulated machine, a report of the host can't be compared with the
machine; there, the versions alone have to be the same.
"""

from __future__ import annotations

import os
import random
import secrets
import statistics
import subprocess
import tempfile
import tomllib
from math import isclose

import msgspec

from ringlet.compare import host
from ringlet.compare.report import (
    Cell,
    Host,
    Report,
    ReportedMeasure,
    ReportedWay,
    read,
    to_json,
)
from ringlet.compare.statistics import spread
from ringlet.emulated.qemu import CMDLINE
from ringlet.errors import RingletError
from ringlet.labs.check import NO_KVM, Check, Failed
from ringlet.labs.lab10_compare import claims
from ringlet.labs.lab10_compare.claims import CLAIMS, ENOUGH, FAILS, HOLDS, UNCLEAR
from ringlet.labs.program import PYTHON
from ringlet.machine.guests import FOLDER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ringlet.labs.work import Work

REPORT, ANSWERS = "report.json", "answers.toml"
WAYS = ("process", "container", "tiny-vm")
_STEPS_OF_A_START = ("first-instruction", "first-output", "end")
_FACTS = ("machine", "processor", "processors", "memory", "kernel")
# The loop that is measured again, and within which factors the report's has to be.
_STEPS, _TIMES, _STEPS_OF_THE_REPORT = 200_000, 20, 20_000_000
_LEAST, _MOST = 0.4, 50
_UNSEEN = 4  # reports
_TOO_FEW = 3  # the kind of a claim with too few samples
_UNITS = ("ns", "us", "ms")
_random = random.Random(secrets.randbits(64))


def _report(work: Work) -> Report:
    """Returns the student's report."""
    return work.once(_read, work)


def _read(work: Work) -> Report:
    if REPORT not in work.files:
        raise Failed(f"there is no {REPORT}", "`make report` makes it")
    with tempfile.NamedTemporaryFile() as file:
        file.write(work.files[REPORT])
        file.flush()
        try:
            return read(file.name)
        except RingletError as error:
            raise Failed(error.message.replace(file.name, REPORT)) from None


def is_whole(work: Work) -> str:
    """The report is of the format, and has all that the claims need."""
    report = _report(work)
    if not report.complete:
        raise Failed("the report isn't complete: the comparison was stopped before its end")
    errors = {way.name: way.error for way in report.ways}
    for name in WAYS:
        if name not in errors:
            raise Failed(f"the way {name} isn't in the report")
        if errors[name]:
            raise Failed(f"the way {name} wasn't possible: {errors[name]}")
    rows = {measure.name: measure for measure in report.measures}
    for row, ways in claims.needed().items():
        if row not in rows:
            raise Failed(f"the row {row} isn't in the report")
        for way in sorted(ways):
            cell = rows[row].ways.get(way)
            if cell is None or (cell.text is None and len(cell.samples) < ENOUGH):
                raise Failed(
                    f"row {row}, way {way}: fewer than {ENOUGH} samples",
                    "close other programs, and measure for longer: `make report SECONDS=600`",
                )
    return f"{len(report.measures)} rows of {len(report.ways)} ways, made at {report.created}"


def fits_together(work: Work) -> str:
    """Each median and spread is that of its samples, and a start's steps come in their order."""
    report = _report(work)
    count = 0
    for measure in report.measures:
        for way, cell in measure.ways.items():
            expected = (
                (statistics.median(cell.samples), spread(cell.samples)) if cell.samples else ()
            )
            for seen, number in zip((cell.median, cell.spread), expected, strict=False):
                if (seen is None) != (number is None) or not isclose(
                    seen or 0, number or 0, rel_tol=1e-6, abs_tol=1e-9
                ):
                    raise Failed(f"row {measure.name}, way {way}: {seen} isn't that of the samples")
            count += len(cell.samples)
    if not count:
        raise Failed("there are no samples in the report")
    rows = {measure.name: measure.ways for measure in report.measures}
    for kind in ("command", "inside"):
        steps = [rows.get(f"{kind}-{step}", {}) for step in _STEPS_OF_A_START]
        for way in steps[0]:
            samples = [step[way].samples for step in steps if way in step]
            if any(list(times) != sorted(times) for times in zip(*samples, strict=False)):
                raise Failed(f"a start of {way} has its last step before an earlier one ({kind})")
    return f"{count} samples, with their medians and spreads"


def is_of_this_machine(work: Work) -> str:
    """The host is this one, and its processor computes as fast as the report says."""
    report = _report(work)
    now = host.look({})
    names = () if _is_emulated() else _FACTS
    for name in names:
        seen, here = getattr(report.host, name), getattr(now, name)
        if seen != here:
            raise Failed(f"{name}: the report has {seen}, this machine {here}")
    for program, version in now.versions.items():
        seen = report.host.versions.get(program)
        if seen != version:
            raise Failed(f"the report is by {program} {seen}, and here is {version}")
    if names:
        _measure_again(report)
    return f"{report.host.processor}, {report.host.kernel}, ringlet {now.versions['ringlet']}"


def _measure_again(report: Report) -> None:
    """Raises `Failed` if the loop can't have taken as long as the report says.

    A short loop, the best of many, is what the processor can do. The report's was longer, and may
    have had other work beside it.
    """
    program = os.path.join(FOLDER, "work")
    rate = _numbers([program, "hz"], "hz")[0]
    cycles = _numbers([program, *["loop", str(_STEPS)] * _TIMES], "cycles")
    best = min(cycles) / rate / _STEPS * _STEPS_OF_THE_REPORT * 1e3
    (row,) = (row for row in report.measures if row.name == "loop")
    seen = min(row.ways["process"].samples)
    if not best * _LEAST <= seen <= best * _MOST:
        raise Failed(
            f"the loop took {seen:.3g} ms in the report; {best:.3g} ms is what it takes here"
        )


def _numbers(command: list[str], name: str) -> list[float]:
    """Returns the numbers after `name=` in what the workload prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    words = (word.partition("=") for word in done.stdout.split())
    return [float(number) for key, _, number in words if key == name]


def _is_emulated() -> bool:
    """Whether the grader runs in an emulated machine, where the report isn't of this machine."""
    with open("/proc/cmdline", encoding="utf-8") as file:
        return CMDLINE in file.read()


def _run_judge(work: Work, report: bytes) -> dict[str, str]:
    """Returns what the student's program says of a report."""
    files = {"grader.json": report}
    with work.program(PYTHON, "judge.py", "grader.json", files=files) as program:
        program.end_input()
        end = program.finish()
    if end.status != 0:
        raise Failed(f"judge.py ended with status {end.status}: {end.complaint}")
    lines = end.output.decode(errors="replace").splitlines()
    words = (line.partition(":") for line in lines)
    return {name.strip(): verdict.strip() for name, _, verdict in words}


def _require(seen: dict[str, str], expected: dict[str, str]) -> None:
    wrong = [
        f"{name} {seen.get(name) or 'nothing'}, by the rule {verdict}"
        for name, verdict in expected.items()
        if seen.get(name) != verdict
    ]
    if wrong:
        raise Failed(f"it says of {'; '.join(wrong)}")


def judges_the_report(work: Work) -> str:
    """The student's program judges the student's report by the rules."""
    expected = claims.verdicts(_report(work))
    _require(_run_judge(work, work.files[REPORT]), expected)
    return ", ".join(f"{name} {verdict}" for name, verdict in expected.items())


def judges_other_reports(work: Work) -> str:
    """The student's program judges reports of machines that don't exist."""
    for number in range(_UNSEEN):
        data = _make_up(number)
        report = msgspec.json.decode(data, type=Report)
        expected = claims.verdicts(report)
        seen = _run_judge(work, data)
        for name, verdict in expected.items():
            if seen.get(name) != verdict:
                cells = " and ".join(_describe(place, report) for place in CLAIMS[name][:2])
                raise Failed(
                    f"it says of {name} {seen.get(name) or 'nothing'}, by the rule {verdict}: the "
                    f"cells are {cells}"
                )
    return f"{_UNSEEN} reports, each claim with each verdict"


def _describe(place: claims.Cell, report: Report) -> str:
    """Returns the cell's content in a few words."""
    (measure,) = (measure for measure in report.measures if measure.name == place.row)
    cell = measure.ways[place.way]
    if not cell.samples:
        return (
            f"`{place.row}`, {place.way}: {f'the text {cell.text!r}' if cell.text else 'an error'}"
        )
    low, high = claims.middle(cell.samples, 1)
    return (
        f"`{place.row}`, {place.way}: {len(cell.samples)} samples, low {low:.4g} {measure.unit}, "
        f"high {high:.4g} {measure.unit}"
    )


def _make_up(number: int) -> bytes:
    """Returns a report in which each claim has another verdict than in the report before."""
    cells: dict[claims.Cell, Cell] = {}
    samples: dict[claims.Cell, list[float]] = {}
    for at, claim in enumerate(CLAIMS.values()):
        kind = (number + at) % 4
        if not claim.factor:
            texts = (("host", "host"), ("own", "host"), (None, "host"), ("own", "own"))[kind]
            for place, text in zip((claim.one, claim.other), texts, strict=True):
                cells[place] = Cell(text=text, error=None if text else "it failed")
            continue
        other = samples.setdefault(claim.other, _samples(_random.uniform(1, 100)))
        base = claim.factor * statistics.median(other)
        ratio = (
            _random.uniform(1.6, 4),
            1 / _random.uniform(1.6, 4),
            _random.uniform(0.98, 1.02),
            100,
        )
        one = _samples(base * ratio[kind])
        samples[claim.one] = one[: ENOUGH - 1] if kind == _TOO_FEW else one
    rows = {place.row for place in (*cells, *samples)}
    units = {row: "MiB" if row in ("used", "idle") else _random.choice(_UNITS) for row in rows}
    for place, values in samples.items():
        values = [value / claims.UNITS[units[place.row]] for value in values]
        cells[place] = Cell(samples=values, median=statistics.median(values), spread=spread(values))
    measures = []
    for row in sorted(rows, key=lambda _: _random.random()):
        found = {place.way: cell for place, cell in cells.items() if place.row == row}
        unit = "" if any(cell.text for cell in found.values()) else units[row]
        measures.append(
            ReportedMeasure(
                name=row, group="", title=row, unit=unit, better="", how="", meaning="", ways=found
            )
        )
    nowhere = Host(
        machine="",
        processor="",
        processors=1,
        memory=1 << 30,
        kernel="",
        kvm="none",
        virtualization="none",
        versions={},
    )
    ways = [ReportedWay(name=name, title=name, about="") for name in WAYS]
    return to_json(
        Report(
            created="",
            seconds=1.0,
            complete=True,
            command="",
            host=nowhere,
            ways=ways,
            measures=measures,
        )
    )


def _samples(middle: float) -> list[float]:
    """Returns samples near `middle`, and some far away, less than a quarter at each end."""
    near = [middle * _random.uniform(0.95, 1.05) for _ in range(8)]
    samples = [*near, middle * 50, middle * 40, middle / 50]
    _random.shuffle(samples)
    return samples


def _answers(work: Work) -> dict[str, dict[str, Any]]:
    try:
        answers = tomllib.loads(work.files[ANSWERS].decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Failed(f"{ANSWERS} isn't TOML: {error}") from None
    for name in CLAIMS:
        if not isinstance(answers.get(name), dict):
            raise Failed(f"{ANSWERS} has no part [{name}]")
    return answers


def _given(work: Work, key: str) -> dict[str, str]:
    return {name: str(_answers(work)[name].get(key, "")) for name in CLAIMS}


def has_predictions(work: Work) -> str:
    """There is a prediction for each claim; it may be wrong."""
    for name, word in _given(work, "predicted").items():
        if word not in (HOLDS, FAILS, UNCLEAR):
            raise Failed(f"the prediction for {name} is '{word}'")
    return f"{len(CLAIMS)} predictions"


def answers_by_the_data(work: Work) -> str:
    """The verdicts that the student hands in follow from the student's own report."""
    _require(_given(work, "verdict"), claims.verdicts(_report(work)))
    return f"{len(CLAIMS)} verdicts, as the rules say of the report"


def knows_the_reasons(work: Work) -> str:
    """For each claim, the student has chosen what makes it so."""
    given = _given(work, "reason")
    wrong = [name for name, claim in CLAIMS.items() if given[name] != claim.reason]
    if wrong:
        raise Failed(
            f"{len(CLAIMS) - len(wrong)} of {len(CLAIMS)} reasons fit; not that of {wrong[0]}"
        )
    return f"{len(CLAIMS)} reasons"


def _check(
    name: str, step: int, points: int, expected: str, hint: str, judge: Callable[[Work], str]
) -> Check:
    return Check(name, step, points, expected, hint, judge, NO_KVM)


CHECKS = (
    _check(
        "the report is whole",
        1,
        15,
        "a report of `ringlet compare`, complete, with the ways process, container and tiny-vm, "
        "and at least 3 samples in each cell that a rule needs",
        "`make report`, with all ways and measures of the Makefile, and let it come to its end",
        is_whole,
    ),
    _check(
        "the numbers of the report fit together",
        1,
        10,
        "each median and each spread is that of its samples; the steps of a start in their order",
        "hand in the file as `ringlet compare` wrote it",
        fits_together,
    ),
    _check(
        "the report is of this machine",
        1,
        10,
        "processor, memory, kernel and versions as the grader finds them, and a loop that takes "
        "about as long as the grader's",
        "`make report` on the machine where you grade",
        is_of_this_machine,
    ),
    _check(
        "judge.py judges your report by the rules",
        2,
        15,
        "a line for each claim, `NAME: VERDICT`, as the rules say",
        "begin with the claim kernel, which needs no numbers; for another claim, print low and "
        "high of both cells to sys.stderr, and judge them by hand",
        judges_the_report,
    ),
    _check(
        "judge.py judges reports that it hasn't seen",
        2,
        25,
        "the verdicts by the rules, also with other units, far samples, too few samples, errors",
        "sort the samples, leave out a quarter at each end, and convert the unit of each row",
        judges_other_reports,
    ),
    _check(
        "there is a prediction for each claim",
        3,
        5,
        "holds, fails or unclear; a prediction may be wrong",
        'write what you expect, before you measure: predicted = "holds"',
        has_predictions,
    ),
    _check(
        "the verdicts follow from your report",
        3,
        10,
        "the verdict on each claim that the rule gives for your report",
        "`make judge` says them; after each new `make report`, write them anew",
        answers_by_the_data,
    ),
    _check(
        "the reasons fit",
        3,
        10,
        "for each claim the reason that explains what was measured",
        "which reason would be true on any machine, and is about what the row measures?",
        knows_the_reasons,
    ),
)
