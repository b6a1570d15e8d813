# echo.bin: writes what it reads, by polling, up to a q.

        .intel_syntax noprefix
        .code16
next:   mov     dx, 0x3fd               # LSR
        in      al, dx
        test    al, 0x01                # DR
        jz      next
        mov     dx, 0x3f8               # RBR
        in      al, dx
        cmp     al, 'q'
        je      end
        out     dx, al                  # THR
        jmp     next
end:    mov     al, 0
        out     0xf4, al                # ends the run with status 0
