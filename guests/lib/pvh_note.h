// The ELF note that makes an image a PVH guest (Xen, xen/include/public/elfnote.h). For assembly.
#pragma once

#define XEN_ELFNOTE_PHYS32_ENTRY 18

// `entry` is the physical address where the loader goes in, in 32-bit protected mode.
.macro pvh_note entry
    .pushsection .note.Xen, "a", @note
    .balign 4
    .long 4                         // size of the name
    .long 8                         // size of the descriptor
    .long XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad \entry
    .popsection
.endm
