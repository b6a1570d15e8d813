# print.bin: prints a line, by polling.

        .intel_syntax noprefix
        .code16
        mov     si, offset text
next:   lodsb
        test    al, al
        jz      end
        mov     ah, al
wait:   mov     dx, 0x3fd               # LSR
        in      al, dx
        test    al, 0x20                # THRE
        jz      wait
        mov     al, ah
        mov     dx, 0x3f8               # THR
        out     dx, al
        jmp     next
end:    mov     al, 0
        out     0xf4, al                # ends the run with status 0
text:   .asciz  "Hello from the guest!\n"
