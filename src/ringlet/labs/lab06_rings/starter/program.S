// A program for ring 3, to try your kernel with: change it. The grader has programs of its own.
//
// It has a part for each step. The program begins with the part that comes first: remove the parts of
// the steps that you have done.

    .macro system_call number
    mov $\number, %eax
    int3
    .endm

    .section .program, "aw"

// Thread 0.

    // Step 1: prints "A3-", and ends the run with status 7.
    mov $'A', %edi
    system_call 1                       // put
    mov %cs, %edi
    and $3, %edi
    add $'0', %edi
    system_call 1                       // put: which ring is this?
    system_call 99                      // there is no such system call: -1
    lea '.'(%rax), %edi
    system_call 1                       // put: '.' - 1 is '-'
    mov $7, %edi
    system_call 2                       // exit

    // Step 2: a system call with a pointer prints "hello"; a fault ends the run with status 128 + 14.
    mov $text, %edi
    mov $6, %esi
    system_call 3                       // write
    mov 0x100000, %al                   // the kernel's memory
text:
    .ascii "hello\n"

    // Step 3: prints "0" from time to time, for ever.
print_0:
    mov $'0', %edi
    system_call 1                       // put
    mov $50000000, %ecx
wait_0:
    dec %ecx
    jnz wait_0
    jmp print_0

// Thread 1, for step 3: the same with "1".
    .org 0x1000
print_1:
    mov $'1', %edi
    system_call 1                       // put
    mov $50000000, %ecx
wait_1:
    dec %ecx
    jnz wait_1
    jmp print_1

    .org 0x4000                         // the stacks
    .section .note.GNU-stack, "", @progbits
