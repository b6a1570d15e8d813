// Prints what a Multiboot loader tells it: command line, modules and memory map.

#include "multiboot.h"

#include "guest.h"

#define MODULE_TEXT 32  // bytes of a module that are shown

extern const uint32_t entry_eax;  // entry.S

static const void *at(uint32_t address) {
    return (const void *)(uintptr_t)address;
}

static void print_modules(const struct multiboot_info *info) {
    const struct multiboot_module *modules = at(info->mods_addr);
    print("modules: %lu\n", (uint64_t)info->mods_count);
    for (uint32_t i = 0; i < info->mods_count; i++) {
        uint32_t size = modules[i].mod_end - modules[i].mod_start;
        print("  %016lx, %lu bytes, %s: ", (uint64_t)modules[i].mod_start, (uint64_t)size,
              (const char *)at(modules[i].string));
        const char *text = at(modules[i].mod_start);
        for (uint32_t j = 0; j < size && j < MODULE_TEXT; j++)
            print("%c", text[j] >= ' ' && text[j] <= '~' ? text[j] : '.');
        print("\n");
    }
}

static void print_memory_map(const struct multiboot_info *info) {
    print("memory map:\n");
    uint32_t end = info->mmap_addr + info->mmap_length;
    for (uint32_t address = info->mmap_addr; address < end;) {
        const struct multiboot_memory_map_entry *entry = at(address);
        print("  %016lx, %lu bytes: %s\n", entry->base_addr, entry->length,
              entry->type == MULTIBOOT_RAM ? "RAM" : "reserved");
        address += sizeof entry->size + entry->size;
    }
}

// In a Multiboot guest, start() hands on the Multiboot information.
int main(const struct hvm_start_info *start_info) {
    const struct multiboot_info *info = (const void *)start_info;
    if (entry_eax != MULTIBOOT_LOADER_MAGIC) {
        print("EAX %08lx is not a Multiboot loader's\n", (uint64_t)entry_eax);
        return 1;
    }
    if (info->flags & MULTIBOOT_HAS_LOADER_NAME)
        print("booted by %s\n", (const char *)at(info->boot_loader_name));
    if (info->flags & MULTIBOOT_HAS_COMMAND_LINE)
        print("command line: %s\n", (const char *)at(info->cmdline));
    if (info->flags & MULTIBOOT_HAS_MODULES)
        print_modules(info);
    if (info->flags & MULTIBOOT_HAS_MEMORY)
        print("memory: %lu KiB, and %lu KiB from 1 MiB on\n", (uint64_t)info->mem_lower,
              (uint64_t)info->mem_upper);
    if (info->flags & MULTIBOOT_HAS_MEMORY_MAP)
        print_memory_map(info);
    return 0;
}
