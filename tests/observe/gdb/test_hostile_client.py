"""A hostile client: whatever it sends, the server answers the next one, and the guest can end."""

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringlet import debug
from ringlet.observe.gdb.server import GdbServer
from ringlet.observe.gdb.target import REGISTERS

from ...machine_code import SPIN, machine
from ..gdb_client import Client, packet

pytestmark = pytest.mark.needs_kvm

CODE = b"\x89\xc0" * 8 + b"\xcd\x03\xf1\x9c\x9d" + b"\xe4\xe5\xe6\xe5" + SPIN
NUMBERS = ("0", "1", "2", "7c00", "7c08", "7c0f", "fee00000", "ffffffff", "100000000")
NUMBERS += ("ffffffffffffffff", "8000000000000000", "-1", "", "zz", "f" * 40, "7fffffffffffffff")
BEGINNINGS = (
    *("?", "g", "p", "P", "m", "M", "X", "H", "Hg", "Hc", "T", "q", "qC", "Q", "v", "vCont;s"),
    *("vCont;c;s", "vCont;s:1;c", "vCont;t", "vCont", "Z0,", "Z1,", "Z2,", "Z3,", "Z4,", "z0,"),
    *("z1,", "z2,", "Z", "s", "S05", "qRcmd,", "qXfer:features:read:", "qThreadExtraInfo,"),
    *("qfThreadInfo", "qSupported:", "QStartNoAckMode", "qXfer:features:read:target.xml:", "!"),
    *("R", "A", "b", "B", "d", "e", "i", "I", "j", "vKill", "vRun;", "vFile:open:", "qSearch:"),
)
RARE = ("c", "C0b", "D", "k", "vKill;1", "G")
WORDS = (
    b"help",
    b"page 0x7c00",
    b"devices",
    b"interrupts",
    b"code 7c00",
    b"registers",
    b"page \xff",
)


def arguments(random: random.Random) -> str:
    parts = [
        random.choice((*NUMBERS, f"{random.getrandbits(random.choice((8, 16, 64))):x}"))
        for _ in range(random.randrange(4))
    ]
    return random.choice((",", ";", ":", "=", "")).join(parts)


def garbage(random: random.Random) -> bytes:
    """One thing that a hostile client sends: mostly almost a packet."""
    kind = random.randrange(100)
    if kind < 10:
        return random.randbytes(random.randrange(60))
    if kind < 11:
        return packet(b"M7c00,%x:" % random.randrange(1 << 20) + b"0" * random.randrange(40_000))
    if kind < 13:
        return packet(b"qRcmd," + random.choice(WORDS).hex().encode())
    if kind < 14:
        size = sum(register.size for register in REGISTERS)
        return packet(b"G" + random.randbytes(size + random.choice((0, 0, -1, 1))).hex().encode())
    if kind < 17:
        return packet(b"P%x=" % random.randrange(100) + random.randbytes(8).hex().encode())
    beginning = random.choice(RARE) if kind < 19 else random.choice(BEGINNINGS)
    sent = packet((beginning + arguments(random)).encode())
    if kind < 40:
        sent = sent[: random.randrange(len(sent))]
    elif kind < 50:
        at = random.randrange(len(sent))
        sent = sent[:at] + random.randbytes(1) + sent[at + 1 :]
    elif kind < 53:
        sent += b"\x03"
    return sent


@contextmanager
def place() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield str(Path(folder) / "gdb")


def talk(random: random.Random, where: str, count: int) -> int:
    """Sends at most `count` things to one guest's server; returns how many it took."""
    done = 0
    with machine(CODE, timeout=60) as made, debug(made) as debugger, GdbServer(debugger, where):
        made.start()
        while done < count and not made.control.has_ended:
            try:
                with Client(where) as client:
                    while done < count:
                        for _ in range(20):
                            client.send(garbage(random))
                            done += 1
                        client.found.clear()
                        # The end of a packet that was begun, a stop, and a packet as it should be.
                        client.send(b"#00\x03" + packet(b"vMustReplyEmpty") + packet(b"qAttached"))
                        while client.reply() != b"1":
                            pass
            except (EOFError, ConnectionError):  # it has detached, or killed the guest
                continue
    return done


def hostile(count: int, seed: int) -> None:
    generator = random.Random(seed)
    done = 0
    with place() as where:
        while done < count:
            try:
                done += talk(generator, where, count - done)
            except BaseException as error:
                error.add_note(f"the seed is {seed}")
                raise


def test_a_hostile_client_gets_answers(no_leak: None) -> None:
    hostile(4_000, seed=1)


@pytest.mark.slow
def test_a_hostile_client_gets_answers_for_long(no_leak: None) -> None:
    hostile(100_000, seed=random.SystemRandom().getrandbits(32))
