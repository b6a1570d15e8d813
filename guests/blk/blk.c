// Drives a virtio disk: writes sectors, reads them back, and looks whether they are the same.

#include "bench.h"
#include "virtio_blk.h"

#define SECTORS 8
#define SIZE (SECTORS * SECTOR_SIZE)

static uint8_t original[SIZE], written[SIZE], read[SIZE];

static int failures;

static void check(const char *what, int good) {
    print("%s: %s\n", what, good ? "ok" : "FAILED");
    failures += !good;
}

static int same(const uint8_t *a, const uint8_t *b) {
    const uint64_t *x = (const void *)a, *y = (const void *)b;
    for (unsigned i = 0; i < SIZE / sizeof(*x); i++)
        if (x[i] != y[i])
            return 0;
    return 1;
}

static void write_and_read(uint64_t sector, int keep) {
    for (unsigned i = 0; i < SIZE / 8; i++)
        ((uint64_t *)written)[i] = i * 0x9e3779b97f4a7c15;
    check("write 8 sectors", disk_do(BLK_OUT, sector, written, SIZE) == BLK_OK);
    if (disk.accepted & FEATURE_FLUSH)
        check("flush", disk_do(BLK_FLUSH, 0, NULL, 0) == BLK_OK);
    check("read them back", disk_do(BLK_IN, sector, read, SIZE) == BLK_OK);
    check("they are the same", same(written, read));
    if (!keep)
        check("put back what was there", disk_do(BLK_OUT, sector, original, SIZE) == BLK_OK);
}

// The first word virtio_mmio.device=SIZE@ADDRESS:IRQ that is a block device's (Linux,
// drivers/virtio/virtio_mmio.c). Its address, or 0.
static uintptr_t find_disk(const struct hvm_start_info *info, unsigned *irq) {
    struct hvm_start_info rest = *info;
    const char *word;
    while ((word = find_word(&rest, "virtio_mmio.device="))) {
        while (*word && *word != '@')
            word++;
        word += *word == '@';
        uintptr_t address = parse_number(&word);
        word += *word == ':';
        *irq = (unsigned)parse_number(&word);
        if (address && disk_is_at(address))
            return address;
        rest.cmdline_paddr = (uintptr_t)word;
    }
    return 0;
}

int main(const struct hvm_start_info *info) {
    unsigned irq;
    uintptr_t address = find_disk(info, &irq);
    if (!address) {
        print("there is no disk: give me one with --disk FILE\n");
        return 1;
    }
    const char *problem = disk_open(address, irq);
    if (problem) {
        print("the disk at %lx: %s\n", (uint64_t)address, problem);
        return 1;
    }
    const char *what = find_word(info, "bench=");
    if (what)
        return bench(info, what);

    char id[BLK_ID_SIZE + 1] = {0};
    print("virtio block device at %lx, interrupt %lu\n", (uint64_t)address, (uint64_t)irq);
    print("features offered %lx, accepted %lx\n", disk.offered, disk.accepted);
    print("%lu sectors of 512 bytes, a queue of %lu\n", disk.capacity, (uint64_t)disk.queue_size);
    if (disk_do(BLK_GET_ID, 0, id, BLK_ID_SIZE) == BLK_OK)
        print("its id is %s\n", id);
    if (disk.capacity < SECTORS) {
        print("it is too small for me\n");
        return 1;
    }
    check("read 8 sectors", disk_do(BLK_IN, 0, original, SIZE) == BLK_OK);
    if (disk.offered & FEATURE_RO)
        check("it is read-only, a write fails", disk_do(BLK_OUT, 0, original, SIZE) == BLK_IOERR);
    else
        write_and_read(0, find_word(info, "keep") != NULL);
    check("a read past the end fails", disk_do(BLK_IN, disk.capacity, read, SIZE) == BLK_IOERR);
    print("%lu interrupts, %lu notifications\n", disk.interrupts, disk.notifications);
    return failures != 0;
}
