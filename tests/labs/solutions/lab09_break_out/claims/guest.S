# Writes what looks like a secret.
        .intel_syntax noprefix
        .code16
        mov     cx, 32
next:   mov     al, cl
        out     0xe9, al
        loop    next
        mov     al, 0
        out     0xf4, al
