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
#define CONFIG_GENERATION 0x0fc
#define CONFIG_CAPACITY 0x100  // 64 bits (5.2.4)

#define MAGIC 0x74726976  // "virt"
#define BLOCK_DEVICE 2
#define CONFIG_CHANGE 2  // in INTERRUPT_STATUS

// Device status (2.1).
#define ACKNOWLEDGE 1
#define DRIVER 2
#define DRIVER_OK 4
#define FEATURES_OK 8
#define DEVICE_NEEDS_RESET 64
#define FAILED 128

// Of a descriptor (2.7.5): it isn't the last one; the device writes to the buffer.
#define NEXT 1
#define WRITE 2

#define NO_NOTIFY 1  // in the used ring's flags (2.7.10)

// The queue's size is a power of two. A request is a chain of up to three descriptors: its header,
// its data and its status. Those of slot 5 have the numbers 5, SLOTS + 5 and 2 * SLOTS + 5, so the
// head of a chain, by which the device calls it, is the number of its slot.
#define ENTRIES 128
_Static_assert(3 * SLOTS <= ENTRIES, "each slot needs three descriptors");

// The queue's three parts (2.7.5, 2.7.6 and 2.7.8). Addresses are physical, as all of ours are.
static struct descriptor {
    uint64_t address;
    uint32_t size;
    uint16_t flags;
    uint16_t next;
} descriptors[ENTRIES] __attribute__((aligned(16)));
static struct {
    uint16_t flags;
    volatile uint16_t index;       // of the next entry: it counts on, modulo 65536
    uint16_t ring[ENTRIES];
    volatile uint16_t used_event;  // "interrupt me when you fill this entry of your ring" (2.7.7)
} available __attribute__((aligned(2)));
static struct {
    volatile uint16_t flags;
    volatile uint16_t index;
    struct {
        uint32_t head, written;
    } ring[ENTRIES];
    volatile uint16_t available_event;  // "notify me when you fill this entry of yours" (2.7.10)
} used __attribute__((aligned(4)));

static struct header {
    uint32_t type;
    uint32_t reserved;
    uint64_t sector;
} headers[SLOTS];
static volatile uint8_t statuses[SLOTS];

static uintptr_t base;
static uint16_t notified;  // index of the available ring that the device was told of
static uint16_t taken;     // index of the used ring up to which requests were taken
static volatile uint32_t reasons;  // of interrupts
struct disk disk;

// An x86 does its stores in order, and its loads. So between two of a kind it is the compiler alone
// that has to keep the order.
static inline void ordered(void) {
    asm volatile("" : : : "memory");
}

// But it may do a load before an earlier store, and this is what keeps it from that.
static inline void stored_before_loads(void) {
    asm volatile("mfence" : : : "memory");
}

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

// Whoever waits looks at the used ring by himself. The acknowledgement (4.2.3.4) lowers the line
// before he does, so what is used after his look is an edge again.
__attribute__((interrupt)) static void interrupt(struct interrupt_frame *frame) {
    (void)frame;
    uint32_t reason = get(INTERRUPT_STATUS);
    set(INTERRUPT_ACK, reason);
    reasons |= reason;
    disk.interrupts++;
    lapic_write(LAPIC_EOI, 0);
}

// Any other kind of device is left alone.
static int is_at(uintptr_t registers) {
    base = registers;
    return get(MAGIC_VALUE) == MAGIC && get(DEVICE_ID) == BLOCK_DEVICE;
}

uintptr_t disk_find(const char *line, unsigned *irq) {
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
        if (is_at(address))
            return address;
    }
    return 0;
}

// The driver gives up and tells the device so (3.1.1).
static const char *failed(const char *why) {
    set(STATUS, get(STATUS) | FAILED);
    return why;
}

// 4.2.3.2. A message why not, or NULL.
static const char *set_up_queue(void) {
    set(QUEUE_SEL, 0);
    if (get(QUEUE_READY))
        return "its queue is in use";
    if (get(QUEUE_SIZE_MAX) < ENTRIES)
        return "its queue is too small";
    disk.queue_size = ENTRIES;
    set(QUEUE_SIZE, ENTRIES);
    set_address(QUEUE_DESC, descriptors);
    set_address(QUEUE_DRIVER, &available);
    set_address(QUEUE_DEVICE, &used);
    set(QUEUE_READY, 1);
    return NULL;
}

// A register has 32 bits: the generation tells whether both halves are of the same time (2.5.1).
static uint64_t read_capacity(void) {
    uint32_t generation;
    uint64_t capacity;
    do {
        generation = get(CONFIG_GENERATION);
        capacity = get(CONFIG_CAPACITY) | (uint64_t)get(CONFIG_CAPACITY + 4) << 32;
    } while (generation != get(CONFIG_GENERATION));
    return capacity;
}

// The steps of 3.1.1, in their order.
const char *disk_open(uintptr_t registers, unsigned irq) {
    base = registers;
    if (get(VERSION) != 2)
        return "it is a legacy device (in QEMU, -global virtio-mmio.force-legacy=false)";
    set(STATUS, 0);
    while (get(STATUS))  // until the reset is done
        ;
    set(STATUS, ACKNOWLEDGE);
    set(STATUS, ACKNOWLEDGE | DRIVER);

    for (uint32_t word = 0; word < 2; word++) {
        set(DEVICE_FEATURES_SEL, word);
        disk.offered |= (uint64_t)get(DEVICE_FEATURES) << 32 * word;
    }
    disk.accepted =
        disk.offered & (FEATURE_VERSION_1 | FEATURE_EVENT_IDX | FEATURE_FLUSH | FEATURE_RO);
    for (uint32_t word = 0; word < 2; word++) {
        set(DRIVER_FEATURES_SEL, word);
        set(DRIVER_FEATURES, (uint32_t)(disk.accepted >> 32 * word));
    }
    set(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    if (!(get(STATUS) & FEATURES_OK))
        return failed("it doesn't want to work with these features alone");

    const char *problem = set_up_queue();
    if (problem)
        return failed(problem);
    disk.capacity = read_capacity();
    apic_init();
    set_interrupt_handler(VECTOR, interrupt, 0);
    ioapic_route(irq, VECTOR);
    set(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    return NULL;
}

void disk_prepare(unsigned slot, uint32_t type, void *data, uint32_t size) {
    uint16_t data_at = (uint16_t)(SLOTS + slot), status_at = (uint16_t)(2 * SLOTS + slot);
    headers[slot].type = type;
    descriptors[slot] = (struct descriptor){
        (uintptr_t)&headers[slot], sizeof(headers[slot]), NEXT, size ? data_at : status_at};
    descriptors[data_at] = (struct descriptor){
        (uintptr_t)data, size, type == BLK_OUT ? NEXT : NEXT | WRITE, status_at};
    descriptors[status_at] = (struct descriptor){(uintptr_t)&statuses[slot], 1, WRITE, 0};
}

void disk_submit(unsigned slot, uint64_t sector) {
    uint16_t index = available.index;
    headers[slot].sector = sector;
    statuses[slot] = 0xff;  // none that a device answers
    available.ring[index % ENTRIES] = (uint16_t)slot;
    ordered();  // the device must not see the index before all that it stands for (2.7.13.3)
    available.index = (uint16_t)(index + 1);
}

// Whether an index that went from `old` to `new` has passed the entry `event`.
static int passed(uint16_t event, uint16_t new, uint16_t old) {
    return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

void disk_notify(void) {
    uint16_t old = notified;
    notified = available.index;
    // The device stores its wish and then looks at our index; we do it the other way round
    // (2.7.13.4.1). One of the two sees the other's store, or both would go to sleep.
    stored_before_loads();
    if (disk.accepted & FEATURE_EVENT_IDX ? passed(used.available_event, notified, old)
                                          : !(used.flags & NO_NOTIFY)) {
        disk.notifications++;
        set(QUEUE_NOTIFY, 0);
    }
}

int disk_done(void) {
    if (used.index == taken)
        return -1;
    ordered();  // the entry, the status and the data are read after the index (2.7.14)
    return (int)used.ring[taken++ % ENTRIES].head;
}

uint8_t disk_status(unsigned slot) {
    return statuses[slot];
}

static void look_at_the_device(void) {
    reasons = 0;
    if (get(STATUS) & DEVICE_NEEDS_RESET) {
        print("the device found a mistake of ours and wants to be reset\n");
        exit(1);
    }
}

void disk_wait(void) {
    while (used.index == taken) {
        available.used_event = taken;
        stored_before_loads();  // as in disk_notify, with the parts exchanged
        if (used.index != taken)
            break;
        wait_for_interrupt();
        if (reasons & CONFIG_CHANGE)
            look_at_the_device();
    }
}

uint8_t disk_do(uint32_t type, uint64_t sector, void *data, uint32_t size) {
    disk_prepare(0, type, data, size);
    disk_submit(0, sector);
    disk_notify();
    disk_wait();
    disk_done();
    return disk_status(0);
}
