// Runs two instructions of ring 0 that a processor knows and KVM's emulator doesn't.
//
// `ringlet doctor` boots it to tell a hardware KVM, on which it ends with status 0, from a
// software one, which stops at the first with an internal error. A stock Linux kernel needs
// both, and more of the kind.

#include "pc.h"

    .text
    .globl start
start:
    popcnt %rax, %rax
    cmpxchg16b scratch
    xor %eax, %eax
    out %al, $EXIT_PORT

    .bss
    .balign 16
scratch:
    .skip 16

    .section .note.GNU-stack, "", @progbits
