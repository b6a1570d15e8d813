"""Exits for the tests of formats, filters and the summary."""

from hypothesis import strategies as st

from ringlet.observe.exits.exit_event import EXITS, Exit
from ringlet.observe.trace.summary import Summary

# Names that try to be more than text: for a terminal, for HTML, for JSON.
HOSTILE = ("\x1b]0;taken\x07", "<script>document.title='taken'</script>", '"}\n{"', "a\r\nb")


def exit(**changes: object) -> Exit:
    """A byte to the serial port, but for the changes."""
    fields: dict[str, object] = {
        "time": 0.001053, "kind": "port", "vcpu": 0, "access": "write", "port": 0x3F8, "size": 1,
        "value": 0x48, "device": "com1", "register": "THR", "instruction": "out dx, al",
        "rip": 0x100122, "function": "pvh_start+0x22", "guest": 2e-6, "kvm": 8e-6, "python": 3e-6,
    }  # fmt: skip
    return Exit(**{**fields, **changes})  # type: ignore[arg-type]


_TIMES = st.integers(0, 10**10).map(lambda nanoseconds: nanoseconds / 1e9)
_TEXTS = st.none() | st.text(max_size=30) | st.sampled_from(HOSTILE)
_NUMBERS = st.none() | st.integers(0, (1 << 64) - 1)
EXIT = st.builds(
    Exit,
    time=_TIMES,
    kind=st.sampled_from(("port", "mmio", "port-string", "interrupted", "shutdown")),
    vcpu=st.integers(0, 3),
    access=st.sampled_from((None, "read", "write")),
    port=st.none() | st.integers(0, 0xFFFF),
    address=_NUMBERS,
    size=st.sampled_from((None, 1, 2, 4, 8)),
    count=st.none() | st.integers(1, 4096),
    value=_NUMBERS,
    device=_TEXTS,
    register=_TEXTS,
    instruction=_TEXTS,
    rip=_NUMBERS,
    function=_TEXTS,
    guest=_TIMES,
    kvm=_TIMES,
    python=st.none() | _TIMES,
)


def summary(exits: list[Exit], seconds: float = 11.0) -> Summary:
    """The summary of these exits."""
    made = Summary(EXITS)
    for each in exits:
        made.times(each.kind, each.group).add(round(each.seconds * 1e9))
    made.seconds = seconds
    return made
