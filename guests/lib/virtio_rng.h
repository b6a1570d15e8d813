// A driver for a virtio entropy device (virtio 1.2: 5.4).
#pragma once

#include "virtio.h"

struct entropy {
    struct virtio device;
    struct virtqueue queue;
};
extern struct entropy entropy;

// Takes over the device whose registers are there. What is wrong with it, or NULL.
const char *entropy_open(uintptr_t registers, unsigned irq);

// Fills `size` bytes with random ones. `data` is physical.
void entropy_read(void *data, uint32_t size);
