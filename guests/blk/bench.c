#include "bench.h"

#include "virtio_blk.h"

#define BUFFERS 0x1000000  // 16 MiB: above the image, and below it all that firmware uses
#define MAX_SIZE (1 << 20)

static uint64_t number(const struct hvm_start_info *info, const char *start, uint64_t otherwise) {
    const char *word = find_word(info, start);
    return word ? parse_number(&word) : otherwise;
}

static uint64_t cycles(void) {
    uint32_t low, high;
    asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static uint64_t ram_from(const struct hvm_start_info *info, uint64_t address) {
    const struct hvm_memmap_table_entry *map = (const void *)(uintptr_t)info->memmap_paddr;
    for (uint32_t i = 0; i < info->memmap_entries; i++)
        if (map[i].type == HVM_MEMMAP_TYPE_RAM && map[i].addr <= address &&
            address < map[i].addr + map[i].size)
            return map[i].addr + map[i].size - address;
    return 0;
}

int bench(const struct hvm_start_info *info, const char *what) {
    uint32_t type = *what == 'r' ? BLK_IN : BLK_OUT;
    int flush = *what == 'f';
    uint64_t size = number(info, "bs=", 4096), depth = number(info, "depth=", 1);
    uint64_t count = number(info, "count=", 1000);
    int random = !find_word(info, "pattern=sequential");

    if (!size || size % SECTOR_SIZE || size > MAX_SIZE || !depth || depth > SLOTS) {
        print("bs is up to 1048576 in sectors of 512, depth up to 16\n");
        return 1;
    }
    uint64_t sectors = size / SECTOR_SIZE, blocks = disk.capacity / sectors;
    if (!blocks || blocks >> 32 || ram_from(info, BUFFERS) < size * depth) {
        print("the disk or the memory is too small, or the disk too large\n");
        return 1;
    }
    if (type == BLK_OUT && disk.offered & FEATURE_RO) {
        print("the disk is read-only\n");
        return 1;
    }

    uint64_t begun = 0, done = 0, errors = 0, state = 1, block = 0;
    uint8_t flushing[SLOTS] = {0};
    uint64_t start = cycles();
    unsigned slot = 0;
    for (;;) {
        // First every slot is begun, then each as soon as it is done.
        if (flush && flushing[slot]) {
            disk_submit(slot, BLK_FLUSH, 0, NULL, 0);
        } else if (begun < count) {
            if (random) {
                state = state * 6364136223846793005 + 1442695040888963407;  // Knuth's MMIX
                block = (state >> 32) * blocks >> 32;
            }
            void *buffer = (void *)(uintptr_t)(BUFFERS + slot * size);
            disk_submit(slot, type, block * sectors, buffer, (uint32_t)size);
            if (!random && ++block == blocks)
                block = 0;
            begun++;
        }
        if (begun < depth && begun < count) {
            slot = (unsigned)begun;
            continue;
        }
        disk_notify();
        slot = disk_wait();
        errors += disk_status(slot) != BLK_OK;
        if (flush)
            flushing[slot] ^= 1;
        if (!flush || !flushing[slot])
            done++;
        if (done == count)
            break;
    }
    uint64_t took = cycles() - start;
    print("bench: bs=%lu depth=%lu count=%lu cycles=%lu interrupts=%lu notifications=%lu "
          "errors=%lu\n",
          size, depth, count, took, disk.interrupts, disk.notifications, errors);
    return errors != 0;
}
