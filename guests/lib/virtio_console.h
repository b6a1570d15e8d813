// A driver for the first port of a virtio console (virtio 1.2: 5.3).
#pragma once

#include "virtio.h"

#define CONSOLE_BUFFER 256  // bytes of input that wait for their reader

struct console {
    struct virtio device;
    struct virtqueue input, output;
    char buffer[CONSOLE_BUFFER];
};
extern struct console console;

// Takes over the device whose registers are there. What is wrong with it, or NULL.
const char *console_open(uintptr_t registers, unsigned irq);

// Writes these bytes, and returns when the host has them. `data` is physical.
void console_write(const void *data, uint32_t size);

// Waits for input, copies it to `data`, which has room for CONSOLE_BUFFER bytes, and returns how
// many bytes there are.
uint32_t console_read(void *data);

// The size of the terminal, as the host says it.
void console_size(unsigned *columns, unsigned *rows);
