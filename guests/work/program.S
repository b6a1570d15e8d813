// How the program begins, and how it calls its kernel.
//
// Both are as Linux has them (System V ABI, AMD64 supplement, 3.4.1 and A.2.1), but for the
// instruction: a software KVM that runs ring 3 natively may have no `syscall`.

#ifndef CALL_KERNEL
#define CALL_KERNEL int3
#endif

#include <asm/unistd_64.h>

    .text
    .globl _start, system_call

// The stack begins with the count of words, then pointers to them.
_start:
    xor %ebp, %ebp
    mov (%rsp), %edi
    lea 8(%rsp), %rsi
    call work
    mov %eax, %edi
    mov $__NR_exit_group, %eax
    CALL_KERNEL

system_call:
    mov %rdi, %rax
    mov %rsi, %rdi
    mov %rdx, %rsi
    mov %rcx, %rdx
    mov %r8, %r10
    mov %r9, %r8
    mov 8(%rsp), %r9
    CALL_KERNEL
    ret

    .section .note.GNU-stack, "", @progbits
