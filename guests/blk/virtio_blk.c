#include "virtio_blk.h"

#define VECTOR 0x30

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
#define CONFIG_CAPACITY 0x100

#define MAGIC 0x74726976  // "virt"
#define BLOCK_DEVICE 2

// Device status (2.1).
#define ACKNOWLEDGE 1
#define DRIVER 2
#define DRIVER_OK 4
#define FEATURES_OK 8

// Descriptors (2.7.5).
#define NEXT 1
#define WRITE 2  // by the device
#define PER_SLOT 3  // header, data, status

#define ENTRIES 64  // of the queue: a power of two, and enough for all slots

struct descriptor {
    uint64_t address;
    uint32_t size;
    uint16_t flags;
    uint16_t next;
};

struct header {
    uint32_t type;
    uint32_t reserved;
    uint64_t sector;
};

static struct descriptor descriptors[ENTRIES] __attribute__((aligned(16)));
static struct {
    uint16_t flags;
    volatile uint16_t index;
    uint16_t ring[ENTRIES];
    volatile uint16_t used_event;  // interrupt when the entry of this index is used (2.7.10)
} available __attribute__((aligned(2)));
static struct {
    volatile uint16_t flags;
    volatile uint16_t index;
    struct {
        uint32_t head, written;
    } ring[ENTRIES];
    volatile uint16_t available_event;  // notify when the entry of this index is available
} used __attribute__((aligned(4)));

static struct header headers[SLOTS];
static volatile uint8_t statuses[SLOTS];

static uintptr_t base;
static uint16_t notified;  // index of the available ring that the device was told of
static uint16_t taken;     // index of the used ring up to which requests were taken
struct disk disk;

static uint32_t get(uint32_t offset) {
    return *(volatile uint32_t *)(base + offset);
}

static void set(uint32_t offset, uint32_t value) {
    *(volatile uint32_t *)(base + offset) = value;
}

static void set_address(uint32_t offset, const volatile void *address) {
    set(offset, (uint32_t)(uintptr_t)address);
    set(offset + 4, (uint32_t)((uintptr_t)address >> 32));
}

// Why doesn't matter: whoever waits looks at the used ring. The acknowledgement lowers the line
// before the ring is looked at, so what is used after that interrupts again.
__attribute__((interrupt)) static void interrupt(struct interrupt_frame *frame) {
    (void)frame;
    set(INTERRUPT_ACK, get(INTERRUPT_STATUS));
    disk.interrupts++;
    lapic_write(LAPIC_EOI, 0);
}

int disk_is_at(uintptr_t registers) {
    base = registers;
    return get(MAGIC_VALUE) == MAGIC && get(DEVICE_ID) == BLOCK_DEVICE;
}

// The descriptors of a slot that never change.
static void prepare(unsigned slot) {
    struct descriptor *first = &descriptors[PER_SLOT * slot];
    first[0] = (struct descriptor){(uintptr_t)&headers[slot], sizeof(headers[slot]), NEXT, 0};
    first[1].next = (uint16_t)(PER_SLOT * slot + 2);
    first[2] = (struct descriptor){(uintptr_t)&statuses[slot], 1, WRITE, 0};
}

// The steps of 3.1.1.
const char *disk_open(uintptr_t registers, unsigned irq) {
    base = registers;
    if (get(VERSION) != 2)
        return "it is a legacy device";
    set(STATUS, 0);
    set(STATUS, ACKNOWLEDGE);
    set(STATUS, ACKNOWLEDGE | DRIVER);
    for (uint32_t word = 0; word < 2; word++) {
        set(DEVICE_FEATURES_SEL, word);
        disk.offered |= (uint64_t)get(DEVICE_FEATURES) << 32 * word;
    }
    disk.accepted = disk.offered &
                    (FEATURE_VERSION_1 | FEATURE_EVENT_IDX | FEATURE_FLUSH | FEATURE_RO);
    for (uint32_t word = 0; word < 2; word++) {
        set(DRIVER_FEATURES_SEL, word);
        set(DRIVER_FEATURES, (uint32_t)(disk.accepted >> 32 * word));
    }
    set(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    if (!(get(STATUS) & FEATURES_OK))
        return "it doesn't like the features";

    set(QUEUE_SEL, 0);
    if (get(QUEUE_SIZE_MAX) < ENTRIES)
        return "its queue is too small";
    for (unsigned slot = 0; slot < SLOTS; slot++)
        prepare(slot);
    disk.queue_size = ENTRIES;
    set(QUEUE_SIZE, ENTRIES);
    set_address(QUEUE_DESC, descriptors);
    set_address(QUEUE_DRIVER, &available);
    set_address(QUEUE_DEVICE, &used);
    set(QUEUE_READY, 1);

    apic_init();
    set_interrupt_handler(VECTOR, interrupt, 0);
    ioapic_route(irq, VECTOR);
    set(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    disk.capacity = get(CONFIG_CAPACITY) | (uint64_t)get(CONFIG_CAPACITY + 4) << 32;
    return NULL;
}

void disk_submit(unsigned slot, uint32_t type, uint64_t sector, void *data, uint32_t size) {
    struct descriptor *first = &descriptors[PER_SLOT * slot];
    headers[slot].type = type;
    headers[slot].sector = sector;
    statuses[slot] = 0xff;
    first[0].next = first[1].next;  // the status, if there is no data
    if (size) {
        first[0].next = (uint16_t)(PER_SLOT * slot + 1);
        first[1].address = (uintptr_t)data;
        first[1].size = size;
        first[1].flags = type == BLK_OUT ? NEXT : NEXT | WRITE;
    }
    available.ring[available.index % ENTRIES] = (uint16_t)(PER_SLOT * slot);
    // The device must not see the index before what it stands for. An x86 stores in order, so
    // it is the compiler alone that has to be told.
    asm volatile("" : : : "memory");
    available.index++;
}

// Whether an index that went from `old` to `new` has passed `event` (2.7.7.2).
static int passed(uint16_t event, uint16_t new, uint16_t old) {
    return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

void disk_notify(void) {
    uint16_t old = notified;
    notified = available.index;
    // The index must be out before the device's wish is looked at: a store, then a load, which
    // even an x86 may swap. Else both sides could go to sleep.
    asm volatile("mfence" : : : "memory");
    if (disk.accepted & FEATURE_EVENT_IDX ? passed(used.available_event, notified, old)
                                          : !(used.flags & 1)) {
        disk.notifications++;
        set(QUEUE_NOTIFY, 0);
    }
}

unsigned disk_wait(void) {
    while (used.index == taken) {
        available.used_event = taken;
        asm volatile("mfence" : : : "memory");  // as in disk_notify, the other way round
        if (used.index == taken)
            wait_for_interrupt();
    }
    asm volatile("" : : : "memory");  // the entry is read after the index
    return used.ring[taken++ % ENTRIES].head / PER_SLOT;
}

uint8_t disk_status(unsigned slot) {
    return statuses[slot];
}

uint8_t disk_do(uint32_t type, uint64_t sector, void *data, uint32_t size) {
    disk_submit(0, type, sector, data, size);
    disk_notify();
    disk_wait();
    return disk_status(0);
}
