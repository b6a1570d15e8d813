#include "virtio_rng.h"

#define ENTRIES 8

struct entropy entropy;

const char *entropy_open(uintptr_t registers, unsigned irq) {
    const char *problem = virtio_open(&entropy.device, registers, 0);
    if (!problem)
        problem = virtqueue_open(&entropy.queue, &entropy.device, 0, ENTRIES);
    if (!problem)
        virtio_begin(&entropy.device, irq);
    return problem;
}

// A device may fill a part of the buffer, and at least a byte of it (5.4.6).
void entropy_read(void *data, uint32_t size) {
    uint8_t *next = data;
    while (size) {
        uint32_t written;
        entropy.queue.descriptors[0] =
            (struct descriptor){(uintptr_t)next, size, DESC_WRITE, 0};
        virtqueue_offer(&entropy.queue, 0);
        virtqueue_notify(&entropy.queue);
        virtqueue_wait(&entropy.queue);
        virtqueue_done(&entropy.queue, &written);
        next += written;
        size -= written;
    }
}
