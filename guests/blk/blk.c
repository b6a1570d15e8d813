// Drives a virtio disk: writes sectors, reads them back, and looks whether they are the same.

#include "bench.h"
#include "virtio_blk.h"

#define SECTORS 8
#define SIZE (SECTORS * SECTOR_SIZE)
#define WORDS (SIZE / sizeof(uint64_t))

static uint64_t original[WORDS], written[WORDS], read[WORDS];

static int failures;

static void check(const char *what, int good) {
    print("%s: %s\n", what, good ? "ok" : "FAILED");
    failures += !good;
}

static void print_features(const char *what, uint64_t features) {
    static const char *const names[64] = {
        [1] = "SIZE_MAX", [2] = "SEG_MAX", [4] = "GEOMETRY", [5] = "RO", [6] = "BLK_SIZE",
        [9] = "FLUSH", [10] = "TOPOLOGY", [11] = "CONFIG_WCE", [12] = "MQ", [13] = "DISCARD",
        [14] = "WRITE_ZEROES", [28] = "INDIRECT_DESC", [29] = "EVENT_IDX", [32] = "VERSION_1",
    };
    print("features %s:", what);
    for (uint64_t bit = 0; bit < 64; bit++) {
        if (!(features >> bit & 1))
            continue;
        if (names[bit])
            print(" %s", names[bit]);
        else
            print(" bit %lu", bit);
    }
    print("\n");
}

static int same(const uint64_t *a, const uint64_t *b) {
    for (size_t i = 0; i < WORDS; i++)
        if (a[i] != b[i])
            return 0;
    return 1;
}

static void flush(void) {
    if (disk.device.accepted & FEATURE_FLUSH)
        check("flush", disk_do(BLK_FLUSH, 0, NULL, 0) == BLK_OK);
}

// No word is what was there, so a write that gets lost shows.
static void write_and_read(int keep) {
    for (size_t i = 0; i < WORDS; i++)
        written[i] = original[i] ^ (i + 1) * 0x9e3779b97f4a7c15;
    check("write 8 sectors", disk_do(BLK_OUT, 0, written, SIZE) == BLK_OK);
    flush();
    check("read them back", disk_do(BLK_IN, 0, read, SIZE) == BLK_OK);
    check("they are the same", same(written, read));
    if (keep)
        return;
    check("put back what was there", disk_do(BLK_OUT, 0, original, SIZE) == BLK_OK);
    flush();
}

static void show(void) {
    char id[BLK_ID_SIZE + 1] = {0};
    print_features("offered", disk.device.offered);
    print_features("accepted", disk.device.accepted);
    print("%lu sectors of 512 bytes, a queue of %lu\n", disk.capacity, (uint64_t)disk.queue.size);
    check("ask for its id", disk_do(BLK_GET_ID, 0, id, BLK_ID_SIZE) == BLK_OK);
    print("it is '%s'\n", id);
    if (disk.capacity < SECTORS) {
        print("it has fewer than 8 sectors, so that is all\n");
        failures++;
        return;
    }
    check("read 8 sectors", disk_do(BLK_IN, 0, original, SIZE) == BLK_OK);
    // A driver must not do this (5.2.6.1), and a device must notice.
    check("read past the end: refused", disk_do(BLK_IN, disk.capacity, read, SIZE) == BLK_IOERR);
}

int main(const struct hvm_start_info *info) {
    const char *line = (const char *)info->cmdline_paddr;
    unsigned irq;
    uintptr_t address = virtio_find(line, VIRTIO_BLOCK, &irq);
    if (!address) {
        print("there is no disk: the command line has no virtio_mmio.device=SIZE@ADDRESS:IRQ of a "
              "block device (--disk FILE gives one)\n");
        return 1;
    }
    const char *problem = disk_open(address, irq);
    if (problem) {
        print("the disk at %lx: %s\n", address, problem);
        return 1;
    }
    if (find_word(line, "bench="))
        return bench(info, line);

    print("virtio block device at %lx, interrupt %lu\n", address, (uint64_t)irq);
    show();
    if (failures)
        return 1;
    if (disk.device.offered & FEATURE_RO)
        print("it is read-only, so I don't write\n");
    else
        write_and_read(find_word(line, "keep") != NULL);
    print("%lu interrupts, %lu notifications\n", disk.device.interrupts, disk.device.notifications);
    return failures != 0;
}
