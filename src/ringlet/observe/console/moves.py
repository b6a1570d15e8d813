"""The console's commands that let the guest go on, and say where it is to stop."""

from __future__ import annotations

from ringlet.errors import RingletError
from ringlet.kvm.vcpu import MP_HALTED, MP_INIT_RECEIVED, MP_UNINITIALIZED
from ringlet.machine.assembly import MAX_INSTRUCTION, bits_of
from ringlet.observe.console.backtrace import GUESS, INTERRUPT
from ringlet.observe.console.interrupt_return import return_to_ring_3
from ringlet.observe.console.ring_3 import Int3s, lacks_breakpoints, next_places
from ringlet.observe.console.tables import idt
from ringlet.observe.console.views import frames, number
from ringlet.observe.debug import stop as stops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import NamedTuple

    from ringlet.observe.console.console import Console
    from ringlet.observe.console.session import Session
    from ringlet.observe.debug.state import State
    from ringlet.observe.debug.stop import Stop
else:
    from ringlet.host.named_tuple import NamedTuple

RFLAGS_IF = 1 << 9
# The exceptions that an instruction in ring 3 may raise (Intel SDM volume 3, 6.15), and `int n`.
RAISED_IN_RING_3 = (0, 1, 3, 4, 6, 7, 10, 11, 12, 13, 14, 16, 17, 19, 21)
INT = b"\xcd"
MAX_STEPS = 10_000_000
MAX_WATCHED = 32  # bytes of a watchpoint: four debug registers
# Instructions behind which `next` stops: what they call comes back to the next instruction.
_CALLS = ("call", "lcall", "int", "syscall", "rep", "repe", "repne", "repz", "repnz", "loop")


class Breakpoint(NamedTuple):
    """A breakpoint or a watchpoint of the user.

    size       bytes that are watched; 0 for a breakpoint
    hardware   whether a debug register holds it
    words      the place in the user's words
    in_ring_3  whether KVM has no breakpoints there, so that the debugger helps itself
    """

    address: int
    size: int
    hardware: bool
    words: str
    in_ring_3: bool = False


def _step_once(console: Console) -> Stop:
    """Lets the selected vCPU run one instruction, and waits.

    Where KVM can't step in ring 3, the debugger itself does the `iretq` to ring 3, and lets ring 3
    run to the instructions that may come next, or to a handler of the kernel.
    """
    session = console.session
    debugger = session.debugger
    state = session.state()
    _require_runnable(session, state)
    if not debugger.abilities.step_ring_3:
        if state.ring == 3:
            return _step_ring_3(console, state)
        entered = return_to_ring_3(state.registers, state.special, session.read)
        if entered is not None:
            debugger.set_special_registers(entered.special, state.vcpu)
            debugger.set_registers(entered.registers, state.vcpu)
            return stops.Stop(stops.STEP, state.vcpu, entered.registers.rip)
    debugger.step(state.vcpu)
    return console.wait()


def _require_runnable(session: Session, state: State) -> None:
    """Raises `RingletError` for a vCPU that would never come to the end of a step."""
    running = session.machine.vm.vcpus[state.vcpu].mp_state
    if running in (MP_UNINITIALIZED, MP_INIT_RECEIVED):
        raise RingletError(
            f"the guest has not started vCPU {state.vcpu}", "`vcpus` lists the vCPUs"
        )
    if running == MP_HALTED and not state.registers.rflags & RFLAGS_IF:
        raise RingletError(
            f"vCPU {state.vcpu} is halted with interrupts off, so it will not go on",
            "`vcpus` lists the vCPUs",
        )


def _step_ring_3(console: Console, state: State) -> Stop:
    session = console.session
    code = session.read(state.address, MAX_INSTRUCTION)
    vectors = {*RAISED_IN_RING_3, *code[1:2]} if code[:1] == INT else RAISED_IN_RING_3
    handlers = {
        gate.offset
        for gate in idt(state.special, session.read)
        if gate.present and gate.vector in vectors
    }
    if not handlers or bits_of(state.special) != 64:
        raise RingletError(
            "this host's KVM can't step in ring 3, and no handler of the guest can help",
            "`continue` lets the guest run on",
        )
    places = {place for place in next_places(state, code, session.read) if session.read(place, 1)}
    return _run_to(console, places, handlers=handlers)


def _run_to(
    console: Console, addresses: Collection[int], *, handlers: Collection[int] = ()
) -> Stop:
    """Lets all vCPUs go on to one of these addresses, or to any other stop.

    `handlers` are addresses of the kernel, for a step in ring 3: then the user's breakpoints in
    ring 3 don't count. A stop at one of the addresses is a step, unless the user has a breakpoint
    there.
    """
    session = console.session
    debugger = session.debugger
    by_user = {each.address for each in console.breakpoints.values() if not each.size}
    in_ring_3 = {each for each in addresses if lacks_breakpoints(session, each)}
    places = {*addresses, *handlers}
    if not handlers:
        in_ring_3 |= {each.address for each in console.breakpoints.values() if each.in_ring_3}
    added: list[int] = []
    int3s = Int3s(session, in_ring_3) if in_ring_3 else None
    waiting = places - in_ring_3 | ({int3s.handler} if int3s else set())
    try:
        for address in waiting - by_user:
            debugger.add_breakpoint(address, vcpu=session.vcpu)
            added.append(address)
        while True:
            debugger.continue_()
            stop = console.wait()
            if int3s is None or stop.reason == stops.END:
                break
            came = [int3s.take_back(vcpu.number) for vcpu in session.machine.vm.vcpus]
            place = came[stop.vcpu]
            if place is not None:
                stop = stops.Stop(stops.BREAKPOINT, stop.vcpu, place)
            is_own_int3 = stop.reason == stops.BREAKPOINT and stop.address == int3s.handler
            if not is_own_int3 or stop.address in places | by_user:
                break  # else the program has an `int3` of its own
    finally:
        if debugger.stopped is not None and debugger.stopped.reason != stops.END:
            for address in added:
                debugger.remove_breakpoint(address)
            if int3s is not None:
                int3s.lift()
    if stop.reason == stops.BREAKPOINT and stop.address not in by_user:
        return stop._replace(reason=stops.STEP)
    return stop


def _steps(
    console: Console, once: Callable[[Console], Stop], is_enough: Callable[[int, State], bool]
) -> None:
    """Does steps until `is_enough`, or until the guest stops for another reason."""
    state = console.session.state()
    count = 0
    while True:
        stop = once(console)
        count += 1
        if stop.reason != stops.STEP:
            break
        after = console.session.state()
        if is_enough(count, after) or console.was_interrupted or after.vcpu != state.vcpu:
            break
        console.note_mode(state, after)
        state = after
    console.show_stop(stop)


def _count(console: Console, words: list[str], command: str) -> int:
    if len(words) > 1:
        raise console.usage(command)
    return number(words[0], 1, MAX_STEPS) if words else 1


def step(console: Console, words: list[str]) -> None:
    """Steps one instruction, or several, or until the mode changes."""
    if words == ["mode"]:
        before = console.session.state().mode
        _steps(console, _step_once, lambda count, state: state.mode != before or count >= MAX_STEPS)
        return
    most = _count(console, words, "step")
    _steps(console, _step_once, lambda count, _: count >= most)


def _next_once(console: Console) -> Stop:
    session = console.session
    state = session.state()
    instruction = session.instruction(state.address)
    if instruction is None or instruction.text.split()[0] not in _CALLS:
        return _step_once(console)
    behind = state.address + len(instruction.code)
    return _until_stack(console, behind, _top(state))


def _until_stack(console: Console, address: int, least: int) -> Stop:
    """Runs to `address`, again while the stack's top is below `least`: a deeper call came by."""
    while True:
        stop = _run_to(console, [address])
        if stop.reason != stops.STEP or stop.address != address or console.was_interrupted:
            return stop
        if _top(console.session.state()) >= least:
            return stop


def next_(console: Console, words: list[str]) -> None:
    """Steps, but over calls."""
    most = _count(console, words, "next")
    _steps(console, _next_once, lambda count, _: count >= most)


def finish(console: Console, words: list[str]) -> None:
    """Runs until the function returns to its caller."""
    if words:
        raise console.usage("finish")
    session = console.session
    found = frames(session)
    if len(found) < 2:
        raise RingletError(
            "no function has called this one, as far as the stack tells",
            "`stack` shows the stack; `break PLACE` and `continue` run to a place",
        )
    if found[1].how == GUESS:
        raise RingletError(
            "the caller of this function isn't known for sure",
            f"the stack may have a return address to {_place(session, found[1].address)}: if that "
            "is right, set a breakpoint there and `continue`",
        )
    caller = found[1]
    if caller.how == INTERRUPT:  # a handler may choose where to return to

        def is_back(_: int, state: State) -> bool:
            return state.ring == caller.ring and (state.ring > 0 or _top(state) >= caller.stack)

        _steps(console, _next_once, is_back)
        return
    console.show_stop(_until_stack(console, caller.address, caller.stack))


def _place(session: Session, address: int) -> str:
    place = session.describe(address)
    return f"{address:#x}" + (f" {place}" if place else "")


def _top(state: State) -> int:
    """Returns the linear address of the top of the stack."""
    base = 0 if bits_of(state.special) == 64 else state.special.ss.base
    return base + state.registers.rsp


def exit_(console: Console, words: list[str]) -> None:
    """Runs to the next VM exit, or past several."""
    most = _count(console, words, "exit")
    for _ in range(most):
        console.session.debugger.next_exit()
        stop = console.wait()
        if stop.reason != stops.EXIT or console.was_interrupted:
            break
    console.show_stop(stop)


def continue_(console: Console, words: list[str]) -> None:
    """Runs to the next breakpoint, watchpoint or crash, or to the end."""
    if words:
        raise console.usage("continue")
    if any(each.in_ring_3 for each in console.breakpoints.values()):
        _continue_to_ring_3(console)
        return
    console.session.debugger.continue_()
    console.show_stop(console.wait())


def _continue_to_ring_3(console: Console) -> None:
    """Runs on with the breakpoints in ring 3, which the debugger itself looks after."""
    state = console.session.state()
    places = {each.address for each in console.breakpoints.values() if not each.size}
    if any(
        each.in_ring_3 and each.address == state.address for each in console.breakpoints.values()
    ):
        stop = _step_once(console)  # off the breakpoint
        if stop.reason != stops.STEP or stop.address in places:
            if stop.reason == stops.STEP:
                stop = stop._replace(reason=stops.BREAKPOINT)
            console.show_stop(stop)
            return
    console.show_stop(_run_to(console, ()))


def break_(console: Console, words: list[str]) -> None:
    """Adds a breakpoint, or lists all."""
    if not words:
        _list(console)
        return
    hardware = words[0] == "hardware"
    if len(words) != 1 + hardware:
        raise console.usage("break")
    session = console.session
    text = words[-1]
    path, colon, line = text.rpartition(":")
    if colon and line.isdecimal():
        taken, addresses = session.addresses_of_line(path, int(line))
        if taken.number != int(line):
            console.show(f"line {line} has no code; the next line that has code is {taken.number}")
    else:
        addresses = [session.address_of(text)]
    for address in addresses:
        in_ring_3 = lacks_breakpoints(session, address)
        if in_ring_3:
            Int3s(session, [address]).lift()  # whether that will work
        else:
            session.debugger.add_breakpoint(address, hardware=hardware, vcpu=session.vcpu)
        _note(console, Breakpoint(address, 0, hardware and not in_ring_3, text, in_ring_3))


def _note(console: Console, each: Breakpoint) -> None:
    name = console.next_number
    console.next_number += 1
    console.breakpoints[name] = each
    console.show(_words(console, name))


def _words(console: Console, name: int) -> str:
    each = console.breakpoints[name]
    line = None if each.size else console.session.lines.at(each.address)
    parts = [_place(console.session, each.address)]
    parts += [str(line)] if line is not None else []
    kind = f"watchpoint {name}: {each.size} bytes" if each.size else f"breakpoint {name}"
    return f"{'hardware ' if each.hardware and not each.size else ''}{kind} at {', '.join(parts)}"


def _list(console: Console) -> None:
    for name in console.breakpoints:
        console.show(_words(console, name))
    if not console.breakpoints:
        console.show("there is no breakpoint")


def watch(console: Console, words: list[str]) -> None:
    """Adds a watchpoint."""
    if not 1 <= len(words) <= 2:
        raise console.usage("watch")
    session = console.session
    address = session.address_of(words[0])
    bits = bits_of(session.state().special)
    size = number(words[1], 1, MAX_WATCHED) if len(words) > 1 else bits // 8
    if len(session.read(address, size)) < size:
        raise RingletError(f"no memory is at {address:#x}", "`page` shows what is mapped there")
    session.debugger.add_watchpoint(address, size, vcpu=session.vcpu)
    console.watched[console.next_number] = session.read(address, size)
    _note(console, Breakpoint(address, size, False, words[0]))


def delete(console: Console, words: list[str]) -> None:
    """Removes a breakpoint or a watchpoint, or all."""
    if len(words) > 1:
        raise console.usage("delete")
    names = [number(words[0], 1, 1 << 31)] if words else list(console.breakpoints)
    debugger = console.session.debugger
    for name in names:
        each = console.breakpoints.get(name)
        if each is None:
            raise RingletError(f"there is no breakpoint {name}", "`break` lists the breakpoints")
        if each.size:
            console.watched.pop(name)
            debugger.remove_watchpoint(each.address, each.size)
        elif (
            not each.size
            and not each.in_ring_3
            and not any(
                other.address == each.address and not other.size and number != name
                for number, other in console.breakpoints.items()
            )
        ):
            debugger.remove_breakpoint(each.address, hardware=each.hardware)
        del console.breakpoints[name]


MOVES = (
    ("step", ("s",), "[N | mode]", "run N instructions, or until the mode changes", step),
    ("next", ("n",), "[N]", "the same, but over calls", next_),
    ("finish", ("f",), "", "run until the function returns", finish),
    ("exit", ("e",), "[N]", "run to the next VM exit, or past N of them", exit_),
    ("continue", ("c",), "", "run to a breakpoint, a watchpoint, a crash or the end", continue_),
    ("break", ("b",), "[[hardware] PLACE]", "stop before this place; list the breakpoints", break_),
    ("watch", ("w",), "PLACE [BYTES]", "stop when the guest writes to the memory there", watch),
    ("delete", ("d",), "[NUMBER]", "remove a breakpoint or watchpoint, or all", delete),
)
