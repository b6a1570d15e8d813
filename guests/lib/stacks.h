// The stacks of a guest that begins in long_mode.S, and the segments that name them (stacks.c).
#pragma once

#include "x86.h"

#define USER_DATA (0x18 | 3)
#define USER_CODE (0x20 | 3)
#define TSS_SELECTOR 0x28

// Intel SDM volume 3, "64-bit mode TSS".
struct task_state {
    uint32_t reserved;
    uint64_t rsp[3];  // the stacks of exceptions that come from a ring of less privilege
    uint64_t reserved2;
    uint64_t ist[7];  // the stacks of gates that name one
    uint64_t reserved3;
    uint16_t reserved4;
    uint16_t io_map;  // past the end: no port is free to ring 3
} __attribute__((packed));
_Static_assert(sizeof(struct task_state) == 104, "the layout is the CPU's");

extern struct task_state task_state;

// long_mode.S: main's stack, and the page below it.
extern const uint8_t stack_guard[], stack_bottom[], stack_top[];

// Unmaps the page below main's stack, and gives the double fault a stack. Loads a table of segments
// for that, in which those of the kernel stay the same.
void prepare_stacks(void);
