#include "virtio_blk.h"

#define CAPACITY 0  // in the configuration space: 64 bits (5.2.4)

// A request is a chain of up to three descriptors: its header, its data and its status. Those of
// slot 5 have the numbers 5, SLOTS + 5 and 2 * SLOTS + 5, so the head of a chain, by which the device
// calls it, is the number of its slot.
#define ENTRIES 128
_Static_assert(3 * SLOTS <= ENTRIES && ENTRIES <= QUEUE_MOST, "each slot needs three descriptors");

static struct header {
    uint32_t type;
    uint32_t reserved;
    uint64_t sector;
} headers[SLOTS];
static volatile uint8_t statuses[SLOTS];

struct disk disk;

const char *disk_open(uintptr_t registers, unsigned irq) {
    const char *problem = virtio_open(&disk.device, registers, FEATURE_FLUSH | FEATURE_RO);
    if (!problem)
        problem = virtqueue_open(&disk.queue, &disk.device, 0, ENTRIES);
    if (problem)
        return problem;
    disk.capacity = virtio_config_long(&disk.device, CAPACITY);
    virtio_begin(&disk.device, irq);
    return NULL;
}

void disk_prepare(unsigned slot, uint32_t type, void *data, uint32_t size) {
    struct descriptor *descriptors = disk.queue.descriptors;
    uint16_t data_at = (uint16_t)(SLOTS + slot), status_at = (uint16_t)(2 * SLOTS + slot);
    headers[slot].type = type;
    descriptors[slot] = (struct descriptor){
        (uintptr_t)&headers[slot], sizeof(headers[slot]), DESC_NEXT, size ? data_at : status_at};
    descriptors[data_at] = (struct descriptor){
        (uintptr_t)data, size, type == BLK_OUT ? DESC_NEXT : DESC_NEXT | DESC_WRITE, status_at};
    descriptors[status_at] = (struct descriptor){(uintptr_t)&statuses[slot], 1, DESC_WRITE, 0};
}

void disk_submit(unsigned slot, uint64_t sector) {
    headers[slot].sector = sector;
    statuses[slot] = 0xff;  // none that a device answers
    virtqueue_offer(&disk.queue, (uint16_t)slot);
}

void disk_notify(void) {
    virtqueue_notify(&disk.queue);
}

int disk_done(void) {
    return virtqueue_done(&disk.queue, NULL);
}

uint8_t disk_status(unsigned slot) {
    return statuses[slot];
}

void disk_wait(void) {
    virtqueue_wait(&disk.queue);
}

uint8_t disk_do(uint32_t type, uint64_t sector, void *data, uint32_t size) {
    disk_prepare(0, type, data, size);
    disk_submit(0, sector);
    disk_notify();
    disk_wait();
    disk_done();
    return disk_status(0);
}
