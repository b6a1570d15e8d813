"""What is told of a guest's vCPUs: of real guests, and of many vCPUs."""

import json
import threading

import pytest

from ringlet.machine.situation import (
    HALTED,
    MAX_GROUPS,
    RUNNING,
    WAITING,
    Situation,
    VcpuStatus,
)

from ..machine_code import (
    HALT_WITH_INTERRUPTS,
    MOV_DX_PORT,
    OUT_DX_AL,
    SPIN,
    machine,
    protected,
    run,
)

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]


def situation(code: bytes, **options: object) -> Situation:
    result = run(code, timeout=0.3, **options)
    assert result.reason == "timeout"
    assert result.situation is not None
    return result.situation


def test_a_guest_in_real_mode_that_loops() -> None:
    found = situation(MOV_DX_PORT + OUT_DX_AL + SPIN)
    (status,) = found.vcpus
    assert (status.number, status.activity, status.interrupts) == (0, RUNNING, False)
    assert (status.mode, status.rip, status.instruction) == ("real mode", 0x7C04, "jmp 0x7c04")
    assert status.exits["port"] == 1
    assert found.lines() == [
        "vCPU 0: running, interrupts off, real mode",
        "  at 0x7c04: jmp 0x7c04",
        "  this code is an endless loop: it jumps to itself",
        "  exits: 1 port; the last access: a write of 1 byte to port 0x700",
    ]


def test_a_guest_in_protected_mode_that_loops() -> None:
    (status,) = situation(protected(SPIN), protocol=None).vcpus
    assert status.mode == "protected mode, 32-bit code, ring 0"


def test_a_guest_that_waits_for_an_interrupt() -> None:
    found = situation(HALT_WITH_INTERRUPTS)
    (status,) = found.vcpus
    assert (status.activity, status.interrupts, status.waits_for_interrupt) == (HALTED, True, True)
    assert "  it waits for an interrupt" in found.lines()


def test_vcpus_that_nobody_starts_wait() -> None:
    found = situation(SPIN, cpus=3)
    assert [status.activity for status in found.vcpus] == [RUNNING, WAITING, WAITING]
    assert found.lines()[-1] == "vCPU 1 to 2: waiting to be started by another vCPU"


def test_for_programs_the_same_as_json() -> None:
    report = json.loads(json.dumps(situation(MOV_DX_PORT + OUT_DX_AL + SPIN).as_json()))
    (status,) = report["vcpus"]
    assert status["activity"] == "running"
    assert status["rip"] == "0x7c04"
    assert status["access"] == {"kind": "write", "port": "0x700", "size": 1}
    assert report["interrupts"] == []


def made_up(number: int, rip: int) -> VcpuStatus:
    return VcpuStatus(number, RUNNING, True, "real mode", rip, "", "nop", "", 0, {}, None)


def test_many_vcpus_that_do_the_same_share_their_lines() -> None:
    statuses = [made_up(number, 0x1000 if number % 100 else 0x2000) for number in range(255)]
    assert Situation(statuses, []).lines() == [
        "vCPU 0, 100, 200: running, interrupts on, real mode",
        "  at 0x2000: nop",
        "vCPU 1 to 99, 101 to 199, 201 to 254: running, interrupts on, real mode",
        "  at 0x1000: nop",
    ]


def test_many_vcpus_that_do_different_things_are_cut_short() -> None:
    lines = Situation([made_up(number, number) for number in range(255)], []).lines()
    assert len(lines) == 3 * MAX_GROUPS + 1
    assert lines[-1] == f"{255 - MAX_GROUPS} more vCPUs"


# Asked while the guest runs.


@pytest.mark.parametrize("cpus", [1, 4])
def test_a_running_guest_answers_and_goes_on(cpus: int) -> None:
    answers: list[Situation] = []
    with machine(SPIN, cpus=cpus) as made:
        made.start()
        for number in range(3):
            answered = threading.Event()

            def show(found: Situation, answered: threading.Event = answered) -> None:
                answers.append(found)
                answered.set()

            made.inquire(show)
            assert answered.wait(60)
            assert len(answers) == number + 1
        assert not made.control.has_ended
        made.kill()
    for found in answers:
        assert [status.number for status in found.vcpus] == list(range(cpus))
        assert found.missing == 0
        assert found.vcpus[0].instruction == "jmp 0x7c00"


def test_a_vcpu_that_waits_for_the_host_does_not_keep_the_others_from_answering() -> None:
    class Stuck:
        """A device whose write waits."""

        def __init__(self) -> None:
            self.entered, self.go = threading.Event(), threading.Event()

        def read(self, offset: int, size: int) -> int:
            return 0

        def write(self, offset: int, size: int, value: int) -> None:
            self.entered.set()
            assert self.go.wait(60)

    device, answered = Stuck(), threading.Event()
    answers: list[Situation] = []

    def show(found: Situation) -> None:
        answers.append(found)
        answered.set()

    with machine(MOV_DX_PORT + OUT_DX_AL + SPIN, cpus=2) as made:
        made.add_port_device(0x700, 1, device)
        made.start()
        assert device.entered.wait(60)
        made.inquire(show)
        assert answered.wait(60)
        device.go.set()
        made.kill()
    assert [status.number for status in answers[0].vcpus] == [1]
    assert answers[0].missing == 1
    assert "1 vCPU doesn't answer: it waits for the host" in answers[0].lines()


def test_before_the_run_and_after_the_end_nobody_answers() -> None:
    answers: list[Situation] = []
    with machine(SPIN, timeout=0.2) as made:
        made.run()
        made.inquire(answers.append)
    assert answers == []
