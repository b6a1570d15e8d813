// The PVH entry (Xen, docs/misc/pvh.pandoc): 32-bit protected mode, EBX = start info.

#include "pvh_note.h"

    pvh_note pvh_start

    .text
    .code32
    .globl pvh_start
pvh_start:
    jmp enter_long_mode

    .section .note.GNU-stack, "", @progbits
