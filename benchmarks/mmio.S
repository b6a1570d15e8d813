/* mmio.S: a guest that reads and writes a register where no memory is, COUNT times each.
 *
 *     gcc -DCOUNT=5000 -nostdlib -static -no-pie -Wl,-e,start -o mmio mmio.S
 *
 * An ELF64 with a PVH note, entered in 32-bit protected mode (Xen's docs/misc/pvh.pandoc).
 */
#define REGISTER 0xd0000000
#define EXIT_PORT 0xf4
#define XEN_ELFNOTE_PHYS32_ENTRY 18

    .section .note.Xen, "a", @note
    .long 4, 4, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long start

    .text
    .code32
    .globl start
start:
    mov $COUNT, %ecx
1:  mov REGISTER, %eax
    mov %eax, REGISTER
    loop 1b
    xor %eax, %eax
    out %al, $EXIT_PORT

    .section .note.GNU-stack, "", @progbits
