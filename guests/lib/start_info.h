// What the loader tells a guest, by PVH and by our 64-bit protocol alike: Xen's hvm_start_info,
// version 1 (Xen, docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h).
// All addresses are guest-physical; 0 stands for nothing.
#pragma once

#include <stdint.h>

#define HVM_START_MAGIC 0x336ec578
#define HVM_MEMMAP_TYPE_RAM 1

struct hvm_start_info {
    uint32_t magic;
    uint32_t version;
    uint32_t flags;
    uint32_t nr_modules;
    uint64_t modlist_paddr;  // struct hvm_modlist_entry[nr_modules]
    uint64_t cmdline_paddr;  // ends with a zero byte
    uint64_t rsdp_paddr;     // ACPI
    uint64_t memmap_paddr;   // struct hvm_memmap_table_entry[memmap_entries]
    uint32_t memmap_entries;
    uint32_t reserved;
};

struct hvm_modlist_entry {
    uint64_t paddr;
    uint64_t size;
    uint64_t cmdline_paddr;
    uint64_t reserved;
};

struct hvm_memmap_table_entry {
    uint64_t addr;
    uint64_t size;
    uint32_t type;  // as in ACPI's address map (E820)
    uint32_t reserved;
};

_Static_assert(sizeof(struct hvm_start_info) == 56, "the layout is the ABI");
_Static_assert(sizeof(struct hvm_modlist_entry) == 32, "the layout is the ABI");
_Static_assert(sizeof(struct hvm_memmap_table_entry) == 24, "the layout is the ABI");
