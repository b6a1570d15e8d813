// The interrupt descriptor table that a guest starts with: each exception of the processor leads to
// unhandled_exception(), which tells of it and ends the run. Without a table, an exception would be
// a triple fault, and on AMD's processors a triple fault leaves nothing to look at.

#include "x86.h"

// Vectors whose exception pushes an error code: 8, 10 to 14, 17, 21, 29 and 30 (Intel SDM volume 3,
// "Exception and Interrupt Reference"; AMD APM volume 2, "Vectors").
#define HAS_ERROR_CODE 0x60227d00

    .text
    .set vector, 0
    .rept EXCEPTIONS
    .balign EXCEPTION_ENTRY_SIZE
    .if vector == 0
exception_entries:
    .endif
    .if !(HAS_ERROR_CODE >> vector & 1)
    push $0                         // so that all exceptions have one on the stack
    .endif
    push $vector
    jmp exception
    .set vector, vector + 1
    .endr

exception:
    mov %rsp, %rdi                  // struct exception
    and $-16, %rsp
    cld
    call unhandled_exception        // never returns

// The linker splits no address into the three parts of a gate. The entries are less than 64 KiB
// behind the beginning of the image, or the linker complains.
    .section .rodata
    .balign 16
    .globl exception_gates
exception_gates:
    .set vector, 0
    .rept EXCEPTIONS
    .word exception_entries + EXCEPTION_ENTRY_SIZE * vector - IMAGE_BASE
    .word KERNEL_CODE
    .word GATE_INTERRUPT
    .word IMAGE_BASE >> 16
    .quad 0
    .set vector, vector + 1
    .endr

    .section .note.GNU-stack, "", @progbits
