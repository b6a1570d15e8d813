// A driver for a virtio network device (virtio 1.2: 5.1).
#pragma once

#include "virtio.h"

#define FRAME_MOST 2036  // bytes of a frame: with the device's header, a buffer has 2048
#define MAC_SIZE 6

#define RECEIVE_SLOTS 32
#define OWN_SLOT RECEIVE_SLOTS  // the slot of a frame that answers no other one
#define FRAME_SLOTS (RECEIVE_SLOTS + 1)

struct network {
    struct virtio device;
    struct virtqueue receive, transmit;
    uint8_t mac[MAC_SIZE];
};
extern struct network network;

// Takes over the device whose registers are there. What is wrong with it, or NULL.
const char *network_open(uintptr_t registers, unsigned irq);

// A frame is in a slot. The slot of the next one that has come, and its size; or -1 while there is none.
int network_receive(size_t *size);
// Halts until there is one.
void network_wait(void);
// Its bytes, which an answer may replace.
uint8_t *network_frame(unsigned slot);

// Sends what is in the slot: so many bytes. The slot is the device's until then.
void network_send(unsigned slot, size_t size);
// Halts until all that was sent is out: a guest's end is the device's end, too.
void network_finish(void);
// Gives the slot of a frame without an answer back.
void network_drop(unsigned slot);
