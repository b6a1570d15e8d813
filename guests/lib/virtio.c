#include "virtio.h"

#define VECTOR 0x30  // of all virtio devices

// Registers (4.2.2).
#define MAGIC_VALUE 0x000
#define VERSION 0x004
#define DEVICE_ID 0x008
#define DEVICE_FEATURES 0x010
#define DEVICE_FEATURES_SEL 0x014
#define DRIVER_FEATURES 0x020
#define DRIVER_FEATURES_SEL 0x024
#define QUEUE_SEL 0x030
#define QUEUE_SIZE_MAX 0x034
#define QUEUE_SIZE 0x038
#define QUEUE_READY 0x044
#define QUEUE_NOTIFY 0x050
#define INTERRUPT_STATUS 0x060
#define INTERRUPT_ACK 0x064
#define STATUS 0x070
#define QUEUE_DESC 0x080  // of each address the lower half; the upper one comes next
#define QUEUE_DRIVER 0x090
#define QUEUE_DEVICE 0x0a0
#define CONFIG_GENERATION 0x0fc
#define CONFIG 0x100

#define MAGIC 0x74726976  // "virt"
#define CONFIG_CHANGE 2   // in INTERRUPT_STATUS

// Device status (2.1).
#define ACKNOWLEDGE 1
#define DRIVER 2
#define DRIVER_OK 4
#define FEATURES_OK 8
#define DEVICE_NEEDS_RESET 64
#define FAILED 128

#define NO_NOTIFY 1  // in the used ring's flags (2.7.10)

static struct virtio *devices;  // that were begun

// An x86 does its stores in order, and its loads. So between two of a kind it is the compiler alone
// that has to keep the order.
static inline void ordered(void) {
    asm volatile("" : : : "memory");
}

// But it may do a load before an earlier store, and this is what keeps it from that.
static inline void stored_before_loads(void) {
    asm volatile("mfence" : : : "memory");
}

static inline uint32_t get(const struct virtio *device, uint32_t offset) {
    return *(volatile uint32_t *)(device->base + offset);
}

static inline void set(const struct virtio *device, uint32_t offset, uint32_t value) {
    *(volatile uint32_t *)(device->base + offset) = value;
}

static void set_address(const struct virtio *device, uint32_t offset, const volatile void *address) {
    set(device, offset, (uint32_t)(uintptr_t)address);
    set(device, offset + 4, (uint32_t)((uintptr_t)address >> 32));
}

// Whoever waits looks at the used ring by himself. The acknowledgement (4.2.3.4) lowers the line
// before he does, so what is used after his look is an edge again.
__attribute__((interrupt)) static void interrupt(struct interrupt_frame *frame) {
    (void)frame;
    for (struct virtio *device = devices; device; device = device->next) {
        uint32_t reason = get(device, INTERRUPT_STATUS);
        if (!reason)
            continue;
        set(device, INTERRUPT_ACK, reason);
        device->reasons |= reason;
        device->interrupts++;
    }
    lapic_write(LAPIC_EOI, 0);
}

// Any other kind of device is left alone.
static int is_at(uintptr_t registers, uint32_t type) {
    struct virtio device = {.base = registers};
    return get(&device, MAGIC_VALUE) == MAGIC && get(&device, DEVICE_ID) == type;
}

uintptr_t virtio_find(const char *line, uint32_t type, unsigned *irq) {
    while ((line = find_word(line, "virtio_mmio.device="))) {
        while (*line && *line != ' ' && *line != '@')
            line++;
        if (*line != '@')
            continue;
        line++;
        uintptr_t address = parse_number(&line);
        if (*line != ':')
            continue;
        line++;
        *irq = (unsigned)parse_number(&line);
        if (is_at(address, type))
            return address;
    }
    return 0;
}

// The driver gives up and tells the device so (3.1.1).
static const char *failed(struct virtio *device, const char *why) {
    set(device, STATUS, get(device, STATUS) | FAILED);
    return why;
}

// The steps of 3.1.1, in their order: those before the queues, ...
const char *virtio_open(struct virtio *device, uintptr_t registers, uint64_t wanted) {
    *device = (struct virtio){.base = registers};
    if (get(device, VERSION) != 2)
        return "it is a legacy device (in QEMU, -global virtio-mmio.force-legacy=false)";
    set(device, STATUS, 0);
    while (get(device, STATUS))  // until the reset is done
        ;
    set(device, STATUS, ACKNOWLEDGE);
    set(device, STATUS, ACKNOWLEDGE | DRIVER);

    for (uint32_t word = 0; word < 2; word++) {
        set(device, DEVICE_FEATURES_SEL, word);
        device->offered |= (uint64_t)get(device, DEVICE_FEATURES) << 32 * word;
    }
    device->accepted = device->offered & (wanted | FEATURE_VERSION_1 | FEATURE_EVENT_IDX);
    for (uint32_t word = 0; word < 2; word++) {
        set(device, DRIVER_FEATURES_SEL, word);
        set(device, DRIVER_FEATURES, (uint32_t)(device->accepted >> 32 * word));
    }
    set(device, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    if (!(get(device, STATUS) & FEATURES_OK))
        return failed(device, "it doesn't want to work with these features alone");
    return NULL;
}

// ... each queue (4.2.3.2), ...
const char *virtqueue_open(struct virtqueue *queue, struct virtio *device, uint32_t number,
                           uint32_t size) {
    queue->device = device;
    queue->number = number;
    queue->size = size;
    set(device, QUEUE_SEL, number);
    if (get(device, QUEUE_READY))
        return failed(device, "its queue is in use");
    if (get(device, QUEUE_SIZE_MAX) < size)
        return failed(device, "its queue is too small");
    set(device, QUEUE_SIZE, size);
    set_address(device, QUEUE_DESC, queue->descriptors);
    set_address(device, QUEUE_DRIVER, &queue->available);
    set_address(device, QUEUE_DEVICE, &queue->used);
    set(device, QUEUE_READY, 1);
    return NULL;
}

// ... and the last one.
void virtio_begin(struct virtio *device, unsigned irq) {
    if (!devices) {
        apic_init();
        set_interrupt_handler(VECTOR, interrupt, 0);
    }
    device->next = devices;
    devices = device;
    ioapic_route(irq, VECTOR);
    set(device, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

uint32_t virtio_config(const struct virtio *device, uint32_t offset) {
    return get(device, CONFIG + offset);
}

uint8_t virtio_config_byte(const struct virtio *device, uint32_t offset) {
    return *(volatile uint8_t *)(device->base + CONFIG + offset);
}

// A register has 32 bits: the generation tells whether both halves are of the same time (2.5.1).
uint64_t virtio_config_long(const struct virtio *device, uint32_t offset) {
    uint32_t generation;
    uint64_t value;
    do {
        generation = get(device, CONFIG_GENERATION);
        value = virtio_config(device, offset);
        value |= (uint64_t)virtio_config(device, offset + 4) << 32;
    } while (generation != get(device, CONFIG_GENERATION));
    return value;
}

void virtqueue_offer(struct virtqueue *queue, uint16_t head) {
    uint16_t index = queue->available.index;
    queue->available.ring[index & (queue->size - 1)] = head;
    ordered();  // the device must not see the index before all that it stands for (2.7.13.3)
    queue->available.index = (uint16_t)(index + 1);
}

// Whether an index that went from `old` to `new` has passed the entry `event`.
static int passed(uint16_t event, uint16_t new, uint16_t old) {
    return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

void virtqueue_notify(struct virtqueue *queue) {
    struct virtio *device = queue->device;
    uint16_t old = queue->notified;
    queue->notified = queue->available.index;
    // The device stores its wish and then looks at our index; we do it the other way round
    // (2.7.13.4.1). One of the two sees the other's store, or both would go to sleep.
    stored_before_loads();
    uint16_t event = (uint16_t)queue->used.ring[queue->size].head;
    if (device->accepted & FEATURE_EVENT_IDX ? passed(event, queue->notified, old)
                                             : !(queue->used.flags & NO_NOTIFY)) {
        device->notifications++;
        set(device, QUEUE_NOTIFY, queue->number);
    }
}

int virtqueue_done(struct virtqueue *queue, uint32_t *written) {
    if (queue->used.index == queue->taken)
        return -1;
    ordered();  // the entry and the data are read after the index (2.7.14)
    uint32_t entry = queue->taken++ & (queue->size - 1);
    if (written)
        *written = queue->used.ring[entry].written;
    return (int)queue->used.ring[entry].head;
}

static void look_at(struct virtio *device) {
    device->reasons = 0;
    if (get(device, STATUS) & DEVICE_NEEDS_RESET) {
        print("the device found a mistake of ours and wants to be reset\n");
        exit(1);
    }
}

void virtqueue_wait(struct virtqueue *queue) {
    while (queue->used.index == queue->taken) {
        queue->available.ring[queue->size] = queue->taken;
        stored_before_loads();  // as in virtqueue_notify, with the parts exchanged
        if (queue->used.index != queue->taken)
            break;
        wait_for_interrupt();
        if (queue->device->reasons & CONFIG_CHANGE)
            look_at(queue->device);
    }
}
