// What each virtio driver shares: a device over MMIO, and its queues (virtio 1.2: 2.7 split
// virtqueues, 3.1 initialization, 4.2 MMIO).
#pragma once

#include "guest.h"

// Device types (5).
#define VIRTIO_NETWORK 1
#define VIRTIO_BLOCK 2
#define VIRTIO_CONSOLE 3
#define VIRTIO_ENTROPY 4

// Features of each device (6).
#define FEATURE_EVENT_IDX (1ull << 29)
#define FEATURE_VERSION_1 (1ull << 32)

// A descriptor's flags (2.7.5): it isn't the last one; the device writes to the buffer.
#define DESC_NEXT 1
#define DESC_WRITE 2

#define QUEUE_MOST 128  // entries of a queue

struct virtio {
    uintptr_t base;              // of the registers
    uint64_t offered, accepted;  // features
    uint64_t interrupts, notifications;
    volatile uint32_t reasons;   // of interrupts
    struct virtio *next;         // another one that was taken over
};

// A queue with its three parts (2.7.5, 2.7.6 and 2.7.8). Addresses are physical, as all of ours are.
struct virtqueue {
    struct descriptor {
        uint64_t address;
        uint32_t size;
        uint16_t flags;
        uint16_t next;
    } descriptors[QUEUE_MOST] __attribute__((aligned(16)));
    // After the last entry of each ring stands a wish of its reader, as if it were one more entry:
    // "interrupt me when you fill this entry of your ring" (2.7.7), and "notify me" (2.7.10).
    struct {
        uint16_t flags;
        volatile uint16_t index;  // of the next entry: it counts on, modulo 65536
        volatile uint16_t ring[QUEUE_MOST + 1];
    } available __attribute__((aligned(2)));
    struct {
        volatile uint16_t flags;
        volatile uint16_t index;
        struct {
            volatile uint32_t head, written;
        } ring[QUEUE_MOST + 1];
    } used __attribute__((aligned(4)));
    struct virtio *device;
    uint32_t number, size;
    uint16_t notified;  // index of the available ring that the device was told of
    uint16_t taken;     // index of the used ring up to which chains were taken
};

// The first device of this type among the words virtio_mmio.device=SIZE@ADDRESS:IRQ (Linux,
// Documentation/admin-guide/kernel-parameters.txt). Where its registers are, or 0.
uintptr_t virtio_find(const char *line, uint32_t type, unsigned *irq);

// Takes over the device, with those of the `wanted` features that it has. Then the queues are opened,
// and the device is begun. What is wrong with it, or NULL.
const char *virtio_open(struct virtio *device, uintptr_t registers, uint64_t wanted);
const char *virtqueue_open(struct virtqueue *queue, struct virtio *device, uint32_t number,
                           uint32_t size);
void virtio_begin(struct virtio *device, unsigned irq);

// 32 bits of the configuration space, and a byte.
uint32_t virtio_config(const struct virtio *device, uint32_t offset);
uint8_t virtio_config_byte(const struct virtio *device, uint32_t offset);
// 64 bits, of one time.
uint64_t virtio_config_long(const struct virtio *device, uint32_t offset);

// Makes a chain available by its head; the device may not look for it before virtqueue_notify.
void virtqueue_offer(struct virtqueue *queue, uint16_t head);
void virtqueue_notify(struct virtqueue *queue);

// The head of a chain that the device has done with, or -1 while there is none. `written` is how much
// the device wrote there.
int virtqueue_done(struct virtqueue *queue, uint32_t *written);
// Halts until there is one.
void virtqueue_wait(struct virtqueue *queue);
