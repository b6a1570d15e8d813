"""The exceptions of the processor by name, and their error codes in words.

Source: Intel SDM volume 3, 6.3.1 and 6.15 (the exceptions), 6.13 (error codes), 4.7 (the error
code of a page fault); AMD APM volume 2, 8.2 (vectors 28 to 30).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from ringlet.host.named_tuple import NamedTuple

INVALID_TSS = 10
PAGE_FAULT = 14
ALIGNMENT_CHECK = 17
CONTROL_PROTECTION = 21

FIRST_INTERRUPT = 32  # the vectors below are the processor's


class ExceptionKind(NamedTuple):
    """One exception: the manual's short form, its name, and whether it pushes an error code."""

    mnemonic: str
    name: str
    has_error_code: bool = False


EXCEPTIONS = {
    0: ExceptionKind("#DE", "divide error"),
    1: ExceptionKind("#DB", "debug exception"),
    2: ExceptionKind("NMI", "non-maskable interrupt"),
    3: ExceptionKind("#BP", "breakpoint"),
    4: ExceptionKind("#OF", "overflow"),
    5: ExceptionKind("#BR", "bound range exceeded"),
    6: ExceptionKind("#UD", "invalid opcode"),
    7: ExceptionKind("#NM", "device not available"),
    8: ExceptionKind("#DF", "double fault", True),
    9: ExceptionKind("CSO", "coprocessor segment overrun"),
    INVALID_TSS: ExceptionKind("#TS", "invalid TSS", True),
    11: ExceptionKind("#NP", "segment not present", True),
    12: ExceptionKind("#SS", "stack-segment fault", True),
    13: ExceptionKind("#GP", "general protection fault", True),
    PAGE_FAULT: ExceptionKind("#PF", "page fault", True),
    16: ExceptionKind("#MF", "x87 floating-point error"),
    ALIGNMENT_CHECK: ExceptionKind("#AC", "alignment check", True),
    18: ExceptionKind("#MC", "machine check"),
    19: ExceptionKind("#XM", "SIMD floating-point exception"),
    20: ExceptionKind("#VE", "virtualization exception"),
    CONTROL_PROTECTION: ExceptionKind("#CP", "control protection exception", True),
    28: ExceptionKind("#HV", "hypervisor injection exception"),
    29: ExceptionKind("#VC", "VMM communication exception", True),
    30: ExceptionKind("#SX", "security exception", True),
}

# Bits of a page fault's error code from bit 3 on, and what each adds.
_PAGE_FAULT_BITS = (
    (3, "a reserved bit is set in an entry of the page tables"),
    (5, "a protection key forbids it"),
    (6, "an access to a shadow stack"),
    (7, "HLAT paging forbids it"),
    (15, "SGX forbids it"),
)
_CONTROL_PROTECTION_CODES = {
    1: "near ret",
    2: "far ret or iret",
    3: "no endbranch instruction",
    4: "rstorssp",
    5: "setssbsy",
}


def vector_name(vector: int) -> str:
    """Returns a vector in words, such as "#PF, page fault" or "interrupt 0x20"."""
    kind = EXCEPTIONS.get(vector)
    if kind is not None:
        return f"{kind.mnemonic}, {kind.name}"
    return f"{'reserved vector' if vector < FIRST_INTERRUPT else 'interrupt'} {vector:#x}"


def has_error_code(vector: int) -> bool:
    """Returns whether this exception pushes an error code."""
    return vector in EXCEPTIONS and EXCEPTIONS[vector].has_error_code


def error_code_words(vector: int, code: int) -> str:
    """Returns an error code in words; "" if there is nothing to say about the code."""
    if vector == PAGE_FAULT:
        return _page_fault_words(code)
    if vector == CONTROL_PROTECTION:
        return _CONTROL_PROTECTION_CODES.get(code & 0x7FFF, "")
    if vector in (8, 29, 30) or not has_error_code(vector):
        return ""
    return _selector_words(vector, code)


def _page_fault_words(code: int) -> str:
    if code & 1 << 4:
        access = "an instruction fetch from"
    else:
        access = "a write to" if code & 2 else "a read of"
    ring = "in ring 3" if code & 4 else "in ring 0, 1 or 2"
    page = "a page that forbids it" if code & 1 else "a page that isn't present"
    more = [words for bit, words in _PAGE_FAULT_BITS if code >> bit & 1]
    return ", ".join([f"{access} {page}, {ring}", *more])


def _selector_words(vector: int, code: int) -> str:
    """Returns the words for an error code that names a selector or a vector (6.13)."""
    event = "; during an event from outside of the program" if code & 1 else ""
    index = code >> 3 & 0x1FFF
    if code & 2:
        return f"entry {index:#x} of the IDT ({vector_name(index)}){event}"
    if code & 0xFFFC:
        table = "LDT" if code & 4 else "GDT"
        return f"selector {code & 0xFFFC:#x}: entry {index:#x} of the {table}{event}"
    return f"no selector{event}" if vector != ALIGNMENT_CHECK else ""
