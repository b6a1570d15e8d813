// The interrupt descriptor table that a guest starts with: each exception of the processor leads to
// unhandled_exception(), which tells of it and ends the run. Without a table, an exception would be
// a triple fault, and on AMD's processors a triple fault leaves nothing to look at.

#include "x86.h"

// Vectors whose exception pushes an error code: 8, 10 to 14, 17, 21, 29 and 30 (Intel SDM volume 3,
// "Exception and Interrupt Reference"; AMD APM volume 2, "Vectors").
#define HAS_ERROR_CODE 0x60227d00

// The call frame information says how the stack lies, so that a debugger's backtrace goes on in the
// code that the exception has interrupted (DWARF 5, 6.4). By gcc's rule for interrupt handlers, a
// frame ends behind the saved RIP; CS, RFLAGS, RSP and SS lie behind that.
    .cfi_sections .debug_frame

    .text
    .set vector, 0
    .rept EXCEPTIONS
    .balign EXCEPTION_ENTRY_SIZE
    .if vector == 0
    .type exception_entries, @function
exception_entries:
    .endif
    .cfi_startproc
    .cfi_signal_frame
    .cfi_offset %rsp, 16
    .if HAS_ERROR_CODE >> vector & 1
    .cfi_adjust_cfa_offset 8
    .else
    push $0                         // so that all exceptions have one on the stack
    .cfi_adjust_cfa_offset 8
    .endif
    push $vector
    .cfi_adjust_cfa_offset 8
    jmp exception
    .cfi_endproc
    .set vector, vector + 1
    .endr
    .size exception_entries, . - exception_entries

    .type exception, @function
exception:
    .cfi_startproc
    .cfi_signal_frame
    .cfi_def_cfa_offset 24
    .cfi_offset %rsp, 16
    push %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_offset %rbp, -32
    mov %rsp, %rbp
    .cfi_def_cfa_register %rbp
    lea 8(%rbp), %rdi               // struct exception
    and $-16, %rsp
    cld
    call unhandled_exception        // never returns
    ud2                             // so that the return address is one of this function
    .cfi_endproc
    .size exception, . - exception

// The linker splits no address into the three parts of a gate. The entries are less than 64 KiB
// behind the beginning of the image, or the linker complains.
    .data
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
