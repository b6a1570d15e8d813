// A program for ring 3, to try your kernel with: change it. The grader has programs of its own.
//
// After step 1 it prints "A3-" and ends the run with status 7. The lines after that are for the later
// steps: remove the lines above them.

    .macro system_call number
    mov $\number, %eax
    int3
    .endm

    .section .program, "aw"

// Thread 0.
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

    // Step 2: a system call with a pointer, and a fault: status 128 + 14.
    mov $text, %edi
    mov $6, %esi
    system_call 3                       // write
    mov 0x100000, %al                   // the kernel's memory
text:
    .ascii "hello\n"

// Thread 1, for step 3.
    .org 0x1000
    jmp .

    .org 0x4000                         // the stacks
    .section .note.GNU-stack, "", @progbits
