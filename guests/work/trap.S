// From ring 3 to its kernel: a system call by Linux's convention, to a function in C.

    .text
    .globl system_call_trap
system_call_trap:
    mov %r10, %rcx
    mov %rax, %r9
    sub $8, %rsp                    // the CPU aligned the stack and pushed five words
    call system_call_of_ring_3      // the program is back from a call of its own: see program.S
    add $8, %rsp
    iretq

    .section .note.GNU-stack, "", @progbits
