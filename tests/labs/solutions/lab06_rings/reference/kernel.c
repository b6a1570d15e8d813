// The reference kernel: runs a program in ring 3.

#include "kernel.h"

static uint8_t stack[4096] __attribute__((aligned(16)));
static struct frame threads[2];
static int current;

static void start_thread(struct frame *thread, uint64_t code, uint64_t stack_top) {
    thread->rip = code;
    thread->cs = USER_CODE;
    thread->rflags = RFLAGS_ALWAYS | RFLAGS_IF;
    thread->rsp = stack_top;
    thread->ss = USER_DATA;
}

static int is_the_programs(uint64_t address, uint64_t size) {
    return address >= PROGRAM && address <= PROGRAM_END && size <= PROGRAM_END - address;
}

static uint64_t write(uint64_t address, uint64_t size) {
    if (!is_the_programs(address, size))
        return -1ul;
    for (uint64_t at = 0; at < size; at++)
        put(((const uint8_t *)address)[at]);
    return size;
}

static void system_call(struct frame *frame) {
    switch (frame->rax) {
    case SYS_PUT:
        put((uint8_t)frame->rdi);
        frame->rax = 0;
        break;
    case SYS_EXIT:
        end((uint8_t)frame->rdi);
    case SYS_WRITE:
        frame->rax = write(frame->rdi, frame->rsi);
        break;
    default:
        frame->rax = -1ul;
    }
}

static void switch_threads(struct frame *frame) {
    threads[current] = *frame;
    current = !current;
    *frame = threads[current];
}

void trap(struct frame *frame) {
    if (frame->vector == VECTOR_BREAKPOINT) {
        system_call(frame);
    } else if (frame->vector == VECTOR_TIMER) {
        end_of_interrupt();
        switch_threads(frame);
    } else {
        end((uint8_t)(128 + frame->vector));
    }
}

void kernel(void) {
    set_kernel_stack(stack + sizeof stack);
    allow_from_ring_3(VECTOR_BREAKPOINT);
    table_4[0] |= PAGE_USER;
    table_3[0] |= PAGE_USER;
    table_2[PROGRAM >> 21] |= PAGE_USER;
    flush_pages();
    start_thread(&threads[0], PROGRAM, STACK_0);
    start_thread(&threads[1], PROGRAM_1, STACK_1);
    start_timer();
    resume(&threads[0]);
}
