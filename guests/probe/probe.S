// Runs instructions of ring 0 that a processor knows and KVM's emulator doesn't.
//
// ringlet/probe.py runs it to tell a hardware KVM, on which it ends with status 0, from a
// software one, which stops at the first that it can't emulate with an internal error. A stock
// Linux kernel needs them all: the first two whatever CPUID says, the others where XSAVE is there.

#include "pc.h"

#define CR4_OSFXSR (1 << 9)
#define CR4_OSXSAVE (1 << 18)
#define CPUID_1_ECX_XSAVE 26
#define XFEATURES 3  // x87 and SSE

    .text
    .globl start
start:
    popcnt %rax, %rax
    cmpxchg16b scratch

    mov $1, %eax
    xor %ecx, %ecx
    cpuid
    bt $CPUID_1_ECX_XSAVE, %ecx
    jnc done
    mov %cr4, %rax
    or $(CR4_OSFXSR | CR4_OSXSAVE), %rax
    mov %rax, %cr4
    xor %ecx, %ecx
    xgetbv
    mov $XFEATURES, %eax
    xor %edx, %edx
    xsave scratch
    xrstor scratch

done:
    xor %eax, %eax
    out %al, $EXIT_PORT

    .bss
    .balign 64
scratch:
    .skip 576 + 64  // legacy region and header are 576 bytes

    .section .note.GNU-stack, "", @progbits
