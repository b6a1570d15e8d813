# The reference guest, which tries to reach the host.

        .intel_syntax noprefix
        .code16
        .globl start
start:
        mov     ax, 0x8000              # 0x8000 * 16 is the first byte behind the memory
        mov     ds, ax
        mov     al, [0]
        out     0xe9, al

        mov     cl, 16                  # the secret is behind the message of 16 bytes
next:   mov     al, cl
        mov     dx, 0x510
        out     dx, al
        inc     dx
        in      al, dx
        out     0xe9, al
        inc     cl
        cmp     cl, 32
        jne     next

        mov     al, 0
        out     0xf4, al
