// What long mode asks for before paging is turned on, in 16- or 32-bit code: PAE, page tables, LME.
#pragma once

#include "x86.h"

.macro prepare_long_mode
    mov $CR4_PAE, %eax
    mov %eax, %cr4
    mov $page_map_level_4, %eax
    mov %eax, %cr3
    mov $MSR_EFER, %ecx
    rdmsr
    or $EFER_LME, %eax
    wrmsr
.endm
