"""A check: one requirement of a lab, and the result for one student's work."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.labs.work import Work

# Which KVM a check needs.
NO_KVM = "none"
ANY_KVM = "any"  # also a KVM that emulates ring 0 in software
HARDWARE_KVM = "hardware"  # interrupts and exceptions exactly as hardware has them


class Failed(Exception):  # noqa: N818 (it is a verdict, not an error)
    """A requirement isn't met: `seen` says in one line what the grader saw instead."""

    def __init__(self, seen: str, hint: str = "") -> None:
        super().__init__(seen)
        self.seen = seen
        self.hint = hint


class Check(NamedTuple):
    """One requirement.

    name      the requirement, in a few words
    step      the step of the lab that it belongs to
    points    what it is worth
    expected  what has to be seen
    hint      what to look at when it fails
    judge     looks at the work, and returns what it saw; raises `Failed`
    kvm       the KVM that it needs
    """

    name: str
    step: int
    points: int
    expected: str
    hint: str
    judge: Callable[[Work], str]
    kvm: str = ANY_KVM


class Verdict(NamedTuple):
    """The result of one check, and where it ran. `hint` is empty if it passed."""

    name: str
    step: int
    points: int
    passed: bool
    expected: str
    seen: str
    hint: str
    where: str

    @property
    def earned(self) -> int:
        """The points that the student gets."""
        return self.points if self.passed else 0
