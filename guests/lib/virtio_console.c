#include "virtio_console.h"

#define ENTRIES 8
#define FEATURE_SIZE (1ull << 0)  // the configuration space has the terminal's size (5.3.3)

// Without the feature for several ports there is one, with queue 0 for input and 1 for output (5.3.2).
#define INPUT 0
#define OUTPUT 1

struct console console;

static void offer_buffer(void) {
    console.input.descriptors[0] =
        (struct descriptor){(uintptr_t)console.buffer, CONSOLE_BUFFER, DESC_WRITE, 0};
    virtqueue_offer(&console.input, 0);
    virtqueue_notify(&console.input);
}

const char *console_open(uintptr_t registers, unsigned irq) {
    const char *problem = virtio_open(&console.device, registers, FEATURE_SIZE);
    if (!problem)
        problem = virtqueue_open(&console.input, &console.device, INPUT, ENTRIES);
    if (!problem)
        problem = virtqueue_open(&console.output, &console.device, OUTPUT, ENTRIES);
    if (!problem) {
        virtio_begin(&console.device, irq);
        offer_buffer();
    }
    return problem;
}

void console_write(const void *data, uint32_t size) {
    console.output.descriptors[0] = (struct descriptor){(uintptr_t)data, size, 0, 0};
    virtqueue_offer(&console.output, 0);
    virtqueue_notify(&console.output);
    virtqueue_wait(&console.output);
    virtqueue_done(&console.output, NULL);
}

uint32_t console_read(void *data) {
    uint32_t size;
    virtqueue_wait(&console.input);
    virtqueue_done(&console.input, &size);
    for (uint32_t i = 0; i < size; i++)
        ((char *)data)[i] = console.buffer[i];
    offer_buffer();
    return size;
}

void console_size(unsigned *columns, unsigned *rows) {
    uint32_t size = virtio_config(&console.device, 0);
    *columns = size & 0xffff;
    *rows = size >> 16;
}
