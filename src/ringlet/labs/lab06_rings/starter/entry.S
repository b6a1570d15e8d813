// The way in, the way into a trap and out of it, and the page tables: given.

    .text
    .code64
    .globl start
start:                                  // 64-bit mode, ring 0, interrupts off
    cld
    mov $stack_top, %esp
    mov $table_4, %eax
    mov %rax, %cr3
    call prepare_machine                // machine.c
    call kernel                         // kernel.c
    mov $1, %edi
    call end

// A trap: the processor has pushed SS, RSP, RFLAGS, CS, RIP, and for some vectors an error code. An
// entry pushes 0 where there is no error code, then the vector.
    .set vector, 0
    .rept 33
    .balign 16
    .if vector == 0
    .globl entries
entries:
    .endif
    .if !(0x60227d00 >> vector & 1) || vector == 32
    push $0
    .endif
    push $vector
    jmp save
    .set vector, vector + 1
    .endr

save:                                   // the rest of struct frame
    push %rax
    push %rbx
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %rbp
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    cld
    mov %rsp, %rdi
    mov %rsp, %rbx
    and $-16, %rsp
    call trap                           // kernel.c
    mov %rbx, %rdi

    .globl resume
resume:
    mov %rdi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rbp
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rbx
    pop %rax
    add $16, %rsp                       // vector and error code
    iretq                               // RIP, CS, RFLAGS, RSP, SS

// Present and writable, but not for ring 3.
    .data
    .balign 4096
    .globl table_4, table_3, table_2
table_4:
    .quad table_3 + 3
    .fill 511, 8, 0
table_3:
    .quad table_2 + 3
    .fill 2, 8, 0
    .quad table_2_of_the_apic + 3
    .fill 508, 8, 0
table_2:                                // pages of 2 MiB
    .set address, 0
    .rept 8
    .quad address + 0x83
    .set address, address + 0x200000
    .endr
    .fill 504, 8, 0
table_2_of_the_apic:
    .fill 503, 8, 0
    .quad 0xfee00000 + 0x83
    .fill 8, 8, 0

    .bss
    .balign 16
    .skip 16384
stack_top:

    .section .note.GNU-stack, "", @progbits
