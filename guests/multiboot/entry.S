// The Multiboot header, and the entry in 32-bit protected mode.

#include "multiboot.h"

#define FLAGS (MULTIBOOT_PAGE_ALIGNED_MODULES | MULTIBOOT_MEMORY_INFORMATION)

// The loader looks for it in the first 8192 bytes of the file; read-only data comes early enough.
    .section .rodata
    .balign 4
    .long MULTIBOOT_HEADER_MAGIC
    .long FLAGS
    .long -(MULTIBOOT_HEADER_MAGIC + FLAGS)

    .text
    .code32
    .globl multiboot_start
multiboot_start:
    mov %eax, entry_eax
    jmp enter_long_mode             // which hands EBX on to main()

    .bss
    .balign 4
    .globl entry_eax
entry_eax:
    .skip 4

    .section .note.GNU-stack, "", @progbits
