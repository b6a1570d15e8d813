#include "bench.h"

#include "virtio_blk.h"

#define BUFFERS LARGE_PAGE_SIZE  // where they begin: the image ends below
#define MAX_SIZE (1 << 20)
#define MAX_DEPTH (SLOTS / 2)
#define FLUSH_OF(slot) ((slot) + MAX_DEPTH)  // each slot has another one, for its flush

static const struct mode {
    const char *word;
    uint32_t type;
    int flush;  // each write before its slot is used again
} modes[] = {
    {"bench=read", BLK_IN, 0},
    {"bench=write", BLK_OUT, 0},
    {"bench=flushwrite", BLK_OUT, 1},
};

struct work {
    const struct mode *mode;
    uint64_t size, depth, count;  // bytes of a request, requests at a time, requests in all
    uint64_t sectors, blocks;     // of a request; of that size on the disk
    int sequential;
};

static uint64_t cycles(void) {
    uint32_t low, high;
    asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

// How much RAM goes on from this address.
static uint64_t ram_from(const struct hvm_start_info *info, uint64_t address) {
    const struct hvm_memmap_table_entry *map = (const void *)info->memmap_paddr;
    for (uint32_t i = 0; i < info->memmap_entries; i++)
        if (map[i].type == HVM_MEMMAP_TYPE_RAM && map[i].addr <= address &&
            address - map[i].addr < map[i].size)
            return map[i].size - (address - map[i].addr);
    return 0;
}

static const struct mode *find_mode(const char *line) {
    for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++)
        if (find_word(line, modes[i].word))
            return &modes[i];
    return NULL;
}

static uint64_t number(const char *line, const char *start, uint64_t otherwise) {
    const char *word = find_word(line, start);
    return word ? parse_number(&word) : otherwise;
}

// What is wrong with it, or NULL.
static const char *plan(struct work *work, const struct hvm_start_info *info, const char *line) {
    work->mode = find_mode(line);
    work->size = number(line, "bs=", 4096);
    work->depth = number(line, "depth=", 1);
    work->count = number(line, "count=", 1000);
    work->sequential = find_word(line, "pattern=sequential") != NULL;
    if (!work->mode)
        return "bench is read, write or flushwrite";
    if (!work->size || work->size % SECTOR_SIZE || work->size > MAX_SIZE)
        return "bs is a multiple of 512, up to 1048576";
    if (!work->depth || work->depth > MAX_DEPTH)
        return "depth is 1 to 16";
    if (!work->count)
        return "count is at least 1";
    work->sectors = work->size / SECTOR_SIZE;
    work->blocks = disk.capacity / work->sectors;
    if (!work->blocks)
        return "the disk is smaller than bs";
    if (work->blocks > UINT32_MAX)
        return "the disk is too large for this bs";
    if (ram_from(info, BUFFERS) < work->size * work->depth)
        return "too little memory: it takes depth * bs, above the first 2 MiB";
    if (work->mode->type == BLK_OUT && disk.device.offered & FEATURE_RO)
        return "the disk is read-only";
    if (work->mode->flush && !(disk.device.accepted & FEATURE_FLUSH))
        return "the disk knows no flush";
    return NULL;
}

static uint64_t next_sector(const struct work *work, uint32_t *state) {
    uint64_t block = *state;
    if (work->sequential) {
        if (++*state == work->blocks)
            *state = 0;
    } else {
        block = block * work->blocks >> 32;
        *state = *state * 1664525 + 1013904223;  // Numerical Recipes, 7.1
    }
    return block * work->sectors;
}

// How many failed. Where ring 0 is emulated an instruction takes half a microsecond: few of them.
static uint64_t run(const struct work *work) {
    const int flush = work->mode->flush;
    uint64_t to_begin = work->count, to_end = work->count, errors = 0;
    uint32_t state = 0;
    for (unsigned slot = 0; slot < work->depth && to_begin; slot++, to_begin--)
        disk_submit(slot, next_sector(work, &state));
    for (;;) {
        disk_notify();
        disk_wait();
        for (int done; (done = disk_done()) >= 0;) {
            unsigned slot = (unsigned)done;
            errors += disk_status(slot) != BLK_OK;
            if (flush) {
                if (slot < MAX_DEPTH) {
                    disk_submit(FLUSH_OF(slot), 0);
                    continue;
                }
                slot -= FLUSH_OF(0);
            }
            if (!--to_end)
                return errors;
            if (to_begin) {
                to_begin--;
                disk_submit(slot, next_sector(work, &state));
            }
        }
    }
}

int bench(const struct hvm_start_info *info, const char *line) {
    struct work work;
    const char *problem = plan(&work, info, line);
    if (problem) {
        print("bench: %s\n", problem);
        return 1;
    }
    for (unsigned slot = 0; slot < work.depth; slot++) {
        void *buffer = (void *)(BUFFERS + slot * work.size);
        disk_prepare(slot, work.mode->type, buffer, (uint32_t)work.size);
        disk_prepare(FLUSH_OF(slot), BLK_FLUSH, NULL, 0);
    }
    uint64_t start = cycles();
    uint64_t errors = run(&work);
    uint64_t took = cycles() - start;
    print("bench: %s bs=%lu depth=%lu count=%lu ", work.mode->word + sizeof("bench=") - 1,
          work.size, work.depth, work.count);
    print("cycles=%lu interrupts=%lu notifies=%lu errors=%lu\n", took, disk.device.interrupts,
          disk.device.notifications, errors);
    return errors != 0;
}
