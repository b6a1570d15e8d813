"""The grades as data: for programs, and for Gradescope.

Source: Gradescope Autograder Documentation, "Autograder Specifications", "Output Format".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.labs.check import Verdict
    from ringlet.labs.grade import Grades


def as_json(grades: Grades) -> dict[str, Any]:
    """Returns the grades for `ringlet lab check --json`."""
    return {
        "lab": grades.lab,
        "title": grades.title,
        "version": grades.version,
        "where": grades.where,
        "earned": grades.earned,
        "points": grades.points,
        "passed": grades.passed,
        "checks": [verdict._asdict() | {"earned": verdict.earned} for verdict in grades.verdicts],
        "notes": grades.notes,
    }


def as_gradescope(grades: Grades) -> dict[str, Any]:
    """Returns the grades in the format of Gradescope's results.json."""
    tests = [
        {
            "number": f"{verdict.step}.{number}",
            "name": verdict.name,
            "score": verdict.earned,
            "max_score": verdict.points,
            "status": "passed" if verdict.passed else "failed",
            "output": "\n".join(lines(verdict)),
            "output_format": "text",
        }
        for number, verdict in enumerate(grades.verdicts, 1)
    ]
    output = [f"ran on {grades.where}", *(f"note: {note}" for note in grades.notes)]
    return {"score": grades.earned, "output": "\n".join(output), "tests": tests}


def as_gradescope_error(message: str, hint: str) -> dict[str, Any]:
    """Returns what Gradescope shows of a work that can't be graded: no points, and the reason."""
    return {"score": 0, "output": f"{message}\nhint: {hint}"}


def lines(verdict: Verdict) -> list[str]:
    """Returns what was expected and seen, and the hint if the check failed."""
    hint = [f"hint: {verdict.hint}"] if verdict.hint else []
    return [f"expected: {verdict.expected}", f"seen: {verdict.seen}", *hint]
