// Multiboot 1 as a kernel sees it (Multiboot specification 0.6.96, 3.1 and 3.3). For C and assembly.
#pragma once

#define MULTIBOOT_HEADER_MAGIC 0x1badb002
#define MULTIBOOT_PAGE_ALIGNED_MODULES 0x1
#define MULTIBOOT_MEMORY_INFORMATION 0x2

#define MULTIBOOT_LOADER_MAGIC 0x2badb002  // in EAX at the entry

#ifndef __ASSEMBLER__
#include <stdint.h>

// Bits of multiboot_info.flags: which of its fields say something.
#define MULTIBOOT_HAS_MEMORY (1 << 0)
#define MULTIBOOT_HAS_COMMAND_LINE (1 << 2)
#define MULTIBOOT_HAS_MODULES (1 << 3)
#define MULTIBOOT_HAS_MEMORY_MAP (1 << 6)
#define MULTIBOOT_HAS_LOADER_NAME (1 << 9)

#define MULTIBOOT_RAM 1  // multiboot_memory_map_entry.type

// All addresses are physical.
struct multiboot_info {
    uint32_t flags;
    uint32_t mem_lower;  // KiB from 0 on
    uint32_t mem_upper;  // KiB from 1 MiB on
    uint32_t boot_device;
    uint32_t cmdline;
    uint32_t mods_count;
    uint32_t mods_addr;  // struct multiboot_module[mods_count]
    uint32_t syms[4];
    uint32_t mmap_length;  // bytes
    uint32_t mmap_addr;
    uint32_t drives_length;
    uint32_t drives_addr;
    uint32_t config_table;
    uint32_t boot_loader_name;
};

struct multiboot_module {
    uint32_t mod_start;
    uint32_t mod_end;
    uint32_t string;
    uint32_t reserved;
};

struct multiboot_memory_map_entry {
    uint32_t size;  // of what follows; the next entry begins behind it
    uint64_t base_addr;
    uint64_t length;
    uint32_t type;
} __attribute__((packed));

_Static_assert(sizeof(struct multiboot_info) == 68, "the layout is the ABI");
_Static_assert(sizeof(struct multiboot_module) == 16, "the layout is the ABI");
_Static_assert(sizeof(struct multiboot_memory_map_entry) == 24, "the layout is the ABI");
#endif
