// What the kernel has at hand: given, as entry.S and machine.c are.
#pragma once

#include <stdint.h>

// Selectors of the GDT (machine.c). The last two bits of a selector are the ring that it is for.
#define KERNEL_CODE 0x08
#define KERNEL_DATA 0x10
#define USER_DATA (0x18 | 3)
#define USER_CODE (0x20 | 3)

// RFLAGS.
#define RFLAGS_ALWAYS 0x002  // this bit is always 1
#define RFLAGS_IF 0x200      // interrupts come in

// Entries of page tables.
#define PAGE_PRESENT 0x01
#define PAGE_WRITABLE 0x02
#define PAGE_USER 0x04   // ring 3 may use the page
#define PAGE_LARGE 0x80  // in table 2: the entry is a page of 2 MiB

// Vectors.
#define VECTOR_BREAKPOINT 3  // int3, the system call
#define VECTOR_TIMER 32

// The program's memory. Thread 0 begins at PROGRAM and has its stack below STACK_0, thread 1 begins at
// PROGRAM_1 and has its stack below STACK_1.
#define PROGRAM 0x400000ul
#define PROGRAM_1 0x401000ul
#define STACK_0 0x403000ul
#define STACK_1 0x404000ul
#define PROGRAM_END 0x404000ul

// System calls: the number is in RAX, the arguments are in RDI and RSI, the result goes to RAX.
#define SYS_PUT 1    // RDI: a byte, for the console. Result 0
#define SYS_EXIT 2   // RDI: the status of the run
#define SYS_WRITE 3  // RDI: where bytes are, RSI: how many. Result: how many, or -1

// The registers of a program that was interrupted. entry.S saves them on the kernel's stack, calls
// trap(), and puts them back: what trap() changes here, the program finds changed.
struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;              // why; the error is 0 where the processor gives none
    uint64_t rip, cs, rflags, rsp, ss;  // what the processor itself pushes
};

// kernel.c: yours.
void kernel(void);               // the kernel begins here, in ring 0, interrupts off
void trap(struct frame *frame);  // each exception and each interrupt comes here

// entry.S: the page tables. They map the first 16 MiB of memory, and the local APIC, to themselves, for
// ring 0 alone. Entry 0 of table_4 is table_3, entry 0 of table_3 is table_2, and entry N of table_2 is
// the page of 2 MiB at address N * 2 MiB.
extern uint64_t table_4[512], table_3[512], table_2[512];
// entry.S: loads all registers from the frame, and goes on there (iretq).
_Noreturn void resume(const struct frame *frame);

// machine.c.
void put(uint8_t byte);                  // the program's output: a byte to the console
void say(const char *text);              // for you: text on the serial port, which the grader ignores
void say_number(uint64_t number);        // the same, a number in hexadecimal
_Noreturn void end(uint8_t status);      // ends the run with this status
void set_kernel_stack(void *top);        // a trap from ring 3 begins with this stack pointer
void allow_from_ring_3(uint8_t vector);  // ring 3 may come to this vector by an instruction
void flush_pages(void);                  // the processor forgets what it knows of the page tables
void start_timer(void);                  // from now on, VECTOR_TIMER comes every 50 ms
void end_of_interrupt(void);             // tells the APIC that its interrupt is handled
