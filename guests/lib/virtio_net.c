#include "virtio_net.h"

// Features (5.1.3).
#define FEATURE_MAC (1ull << 5)

#define RECEIVE_QUEUE 0  // 5.1.2
#define TRANSMIT_QUEUE 1
#define ENTRIES 64
_Static_assert(FRAME_SLOTS <= ENTRIES && ENTRIES <= QUEUE_MOST, "each slot needs a descriptor");

// Before a frame stands a header (5.1.6). It says what one side leaves to the other, such as checksums.
// We accept no such feature, so all of it is 0.
static struct buffer {
    uint8_t header[12];
    uint8_t frame[FRAME_MOST];
} buffers[FRAME_SLOTS] __attribute__((aligned(16)));

struct network network;

static void give(unsigned slot) {
    network.receive.descriptors[slot] = (struct descriptor){
        (uintptr_t)&buffers[slot], sizeof(struct buffer), DESC_WRITE, 0};
    virtqueue_offer(&network.receive, (uint16_t)slot);
}

const char *network_open(uintptr_t registers, unsigned irq) {
    struct virtio *device = &network.device;
    const char *problem = virtio_open(device, registers, FEATURE_MAC);
    if (!problem)
        problem = virtqueue_open(&network.receive, device, RECEIVE_QUEUE, ENTRIES);
    if (!problem)
        problem = virtqueue_open(&network.transmit, device, TRANSMIT_QUEUE, ENTRIES);
    if (problem)
        return problem;
    for (unsigned i = 0; i < MAC_SIZE; i++)
        network.mac[i] = virtio_config_byte(device, i);
    virtio_begin(device, irq);
    for (unsigned slot = 0; slot < RECEIVE_SLOTS; slot++)
        give(slot);
    virtqueue_notify(&network.receive);
    return NULL;
}

// What was sent can be filled again.
static void take_sent(void) {
    for (int slot; (slot = virtqueue_done(&network.transmit, NULL)) >= 0;)
        if (slot < RECEIVE_SLOTS)
            give((unsigned)slot);
}

int network_receive(size_t *size) {
    uint32_t written;
    take_sent();
    int slot = virtqueue_done(&network.receive, &written);
    if (slot >= 0)
        *size = written - sizeof(buffers->header);
    return slot;
}

void network_wait(void) {
    take_sent();
    virtqueue_notify(&network.receive);
    virtqueue_wait(&network.receive);
}

uint8_t *network_frame(unsigned slot) {
    return buffers[slot].frame;
}

void network_send(unsigned slot, size_t size) {
    memset(buffers[slot].header, 0, sizeof(buffers->header));
    network.transmit.descriptors[slot] = (struct descriptor){
        (uintptr_t)&buffers[slot], (uint32_t)(sizeof(buffers->header) + size), 0, 0};
    virtqueue_offer(&network.transmit, (uint16_t)slot);
    virtqueue_notify(&network.transmit);
}

void network_finish(void) {
    while (network.transmit.taken != network.transmit.available.index) {
        virtqueue_wait(&network.transmit);
        take_sent();
    }
}

void network_drop(unsigned slot) {
    give(slot);
}
