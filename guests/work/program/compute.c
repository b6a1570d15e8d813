// Computing: actions that make no system call while they are measured.

#include <linux/errno.h>

#include "shared.h"

static int loop(char **words) {
    uint64_t value = 1, started = cycles();
    for (uint64_t left = number(words[0]); left; left--)
        value = NEXT(value);
    return checked(started, cycles(), value);
}

static void sift_down(uint64_t *heap, uint64_t root, uint64_t size) {
    uint64_t value = heap[root];
    for (uint64_t child; (child = 2 * root + 1) < size; root = child) {
        if (child + 1 < size && heap[child + 1] > heap[child])
            child++;
        if (heap[child] <= value)
            break;
        heap[root] = heap[child];
    }
    heap[root] = value;
}

// Heap sort (Knuth, The Art of Computer Programming, 5.2.3): no order of the input is a good one.
static int sort(char **words) {
    uint64_t count = number(words[0]), value = 1, check = 0;
    uint64_t *heap = map(count * sizeof *heap);
    if (!heap)
        return failed(-ENOMEM);
    for (uint64_t i = 0; i < count; i++)
        heap[i] = value = NEXT(value);
    uint64_t started = cycles();
    for (uint64_t i = count / 2; i--;)
        sift_down(heap, i, count);
    for (uint64_t size = count - 1; size; size--) {
        uint64_t largest = heap[0];
        heap[0] = heap[size];
        sift_down(heap, 0, size);
        heap[size] = largest;
    }
    uint64_t ended = cycles();
    for (uint64_t i = 0; i < count; i++)
        check = NEXT(check) ^ heap[i];
    return checked(started, ended, check);
}

// FNV-1a, 64 bits (RFC 9923, section 2), over so many KiB.
static int hash(char **words) {
    uint64_t size = number(words[0]) * 1024, value = 1, result = 0xcbf29ce484222325;
    uint8_t *bytes = map(size);
    if (!bytes)
        return failed(-ENOMEM);
    for (uint64_t i = 0; i < size / 8; i++)
        ((uint64_t *)bytes)[i] = value = NEXT(value);
    uint64_t started = cycles();
    for (uint64_t i = 0; i < size; i++)
        result = (result ^ bytes[i]) * 0x100000001b3;
    return checked(started, cycles(), result);
}

const struct action compute_actions[] = {
    {"loop", 1, loop, NULL},
    {"sort", 1, sort, NULL},
    {"hash", 1, hash, NULL},
    {0},
};
