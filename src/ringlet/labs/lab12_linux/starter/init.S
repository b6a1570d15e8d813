# The first program that Linux runs: /init in initramfs.cpio. It writes a line to the kernel's log,
# and resets the machine. The numbers of the system calls are those of Linux on x86-64.

        .intel_syntax noprefix
        .globl  _start
_start:
        mov     eax, 2                  # open("/dev/kmsg", O_WRONLY)
        lea     rdi, log[rip]
        mov     esi, 1
        syscall
        mov     edi, eax
        mov     eax, 1                  # write(it, text, size)
        lea     rsi, text[rip]
        mov     edx, offset text_end - text
        syscall
        mov     eax, 169                # reboot(MAGIC1, MAGIC2, RESTART)
        mov     edi, 0xfee1dead
        mov     esi, 0x28121969
        mov     edx, 0x01234567
        syscall
        ud2

log:    .asciz  "/dev/kmsg"
text:   .ascii  "<1>init runs: your VMM has booted Linux\n"     # 1: also with `quiet`
text_end:
