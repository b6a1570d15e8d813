// The program in ring 3: two system calls, two crimes, and its end.

#include "rings.h"

.macro system_call number, argument
    push $\argument
    push $\number
    int3
    add $16, %rsp
.endm

    .section .user, "ax"
    .globl user
user:
    system_call SYS_PRINT, asks

    push $1f                        // where to go on: see forgive() in rings.c
    mov main, %al                   // the kernel's memory: a page fault
1:
    push $2f
    cli                             // a privileged instruction: a general protection fault
2:
    system_call SYS_PRINT, ends
    system_call SYS_EXIT, 0

asks:
    .asciz "may I print? Now the kernel's memory, then cli"
ends:
    .asciz "alive after both"

    .section .note.GNU-stack, "", @progbits
