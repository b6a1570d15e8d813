// Asks a virtio entropy device for random bytes, and shows 32 of them.

#include "virtio_rng.h"

#define SIZE 32

// As many bytes as the word size= of the command line says are asked for; 32 without it.
int main(const struct hvm_start_info *info) {
    static uint8_t bytes[1 << 16];
    const char *line = (const char *)info->cmdline_paddr;
    const char *word = find_word(line, "size=");
    uint64_t size = word ? parse_number(&word) : SIZE;
    unsigned irq;
    uintptr_t address = virtio_find(line, VIRTIO_ENTROPY, &irq);
    if (!address) {
        print("there is no entropy device (--entropy gives one)\n");
        return 1;
    }
    const char *problem = entropy_open(address, irq);
    if (problem) {
        print("the entropy device at %lx: %s\n", address, problem);
        return 1;
    }
    if (size < SIZE || size > sizeof(bytes)) {
        print("size= is 32 to 65536\n");
        return 1;
    }
    entropy_read(bytes, (uint32_t)size);
    for (size_t i = 0; i < SIZE; i++)
        print("%02x", bytes[size - SIZE + i]);
    print("\n");
    return 0;
}
