// The kernel of this guest: it runs the program in ring 3, and answers some of Linux's system calls
// as Linux would. There is one program, which may do to the kernel whatever it likes by these.

#include <linux/errno.h>
#include <linux/fs.h>
#include <linux/sysinfo.h>
#include <linux/utsname.h>

#include <asm/unistd_64.h>

#include "guest.h"
#include "program.h"
#include "virtio_blk.h"

#define VECTOR_BREAKPOINT 3
#define VECTOR_SERIAL 0x24

// The program's memory: what the linker script places at the beginning, then its stack, downwards
// from the end of the large page, then what it asks for.
#define PROGRAM 0x400000ul
#define STACK_TOP (PROGRAM + LARGE_PAGE_SIZE)
#define MAX_WORDS 32

#define DISK "/dev/vda"
#define DISK_FILE 3

extern const char _start[], system_call_trap[];  // program.S, trap.S

static const char *command_line;
static uint64_t memory_next = STACK_TOP, memory_end;

static int starts_with(const char *text, const char *start) {
    while (*start && *text == *start)
        text++, start++;
    return !*start;
}

// Where the RAM ends that goes on from this address.
static uint64_t ram_end(const struct hvm_start_info *info, uint64_t address) {
    const struct hvm_memmap_table_entry *map = (const void *)info->memmap_paddr;
    for (uint32_t i = 0; i < info->memmap_entries; i++)
        if (map[i].type == HVM_MEMMAP_TYPE_RAM && map[i].addr <= address &&
            address - map[i].addr < map[i].size)
            return map[i].addr + map[i].size;
    return address;
}

// RAM that nobody has used yet: it is zero.
static long map(uint64_t size) {
    uint64_t address = memory_next;
    if (!size)
        return -EINVAL;
    if (size > memory_end - address)
        return -ENOMEM;
    memory_next += (size + LARGE_PAGE_SIZE - 1) & -(uint64_t)LARGE_PAGE_SIZE;
    ring_3_allow(address, size);
    return (long)address;
}

__attribute__((interrupt)) static void received(struct interrupt_frame *frame) {
    (void)frame;
    outb(UART_IER, 0);  // who waits reads it
    lapic_write(LAPIC_EOI, 0);
}

static long read_serial(char *byte) {
    if (!(inb(UART_LSR) & LSR_DR)) {
        apic_init();
        set_interrupt_handler(VECTOR_SERIAL, received, 0);
        ioapic_route(COM1_IRQ, VECTOR_SERIAL);
        outb(UART_MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
        outb(UART_IER, IER_RECEIVED);
        wait_for_interrupt();
    }
    *byte = (char)inb(UART_RBR);
    return 1;
}

static long open_disk(const char *path) {
    unsigned irq;
    if (!starts_with(path, DISK))
        return -ENOENT;
    if (disk.queue.size)  // it is open
        return DISK_FILE;
    uintptr_t registers = virtio_find(command_line, VIRTIO_BLOCK, &irq);
    return !registers ? -ENOENT : disk_open(registers, irq) ? -EIO : DISK_FILE;
}

static long transfer(uint32_t type, void *data, uint64_t size, uint64_t place) {
    if (size % SECTOR_SIZE || place % SECTOR_SIZE)
        return -EINVAL;
    uint8_t status = disk_do(type, place / SECTOR_SIZE, data, (uint32_t)size);
    return status == BLK_OK ? (long)size : -EIO;
}

static long flush_disk(void) {
    if (disk.device.accepted & FEATURE_FLUSH && disk_do(BLK_FLUSH, 0, NULL, 0) != BLK_OK)
        return -EIO;
    return 0;
}

static long name_system(struct new_utsname *name) {
    *name = (struct new_utsname){
        .sysname = "ringlet", .nodename = "none", .release = "work", .machine = "x86_64"};
    return 0;
}

static long tell_memory(struct sysinfo *info) {
    info->totalram = memory_end;
    info->mem_unit = 1;
    return 0;
}

static long read_port(uint16_t port, uint64_t count) {
    while (count--)
        inb(port);
    return 0;
}

static _Noreturn void crash(void) {
    static const struct table_register empty;
    asm volatile("lidt %0; ud2" : : "m"(empty));
    __builtin_unreachable();
}

// Called by trap.S.
long system_call_of_ring_3(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                           uint64_t number);
long system_call_of_ring_3(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                           uint64_t number) {
    (void)e;
    switch (number) {
    case __NR_getppid:  // whoever started the first process isn't one
        return 0;
    case __NR_getpid:
        return 1;
    case __NR_read:
        return read_serial((char *)b);
    case __NR_write:
        serial_write((const char *)b, c);
        return (long)c;
    case __NR_open:
        return open_disk((const char *)a);
    case __NR_close:
        return 0;
    case __NR_lseek:  // asked for the end of the disk alone
        return (long)(disk.capacity * SECTOR_SIZE);
    case __NR_pread64:
        return transfer(BLK_IN, (void *)b, c, d);
    case __NR_pwrite64:
        return transfer(BLK_OUT, (void *)b, c, d);
    case __NR_fdatasync:
        return flush_disk();
    case __NR_mmap:
        return map(b);
    case __NR_uname:
        return name_system((struct new_utsname *)a);
    case __NR_sysinfo:
        return tell_memory((struct sysinfo *)a);
    case __NR_sched_getaffinity:  // the one it runs on
        *(uint64_t *)c = 1;
        return sizeof(uint64_t);
    case __NR_pause:
        for (;;)
            wait_for_interrupt();
    case __NR_exit_group:
        exit((uint8_t)a);
    case CALL_READ_PORT:
        return read_port((uint16_t)a, b);
    case CALL_CRASH:
        crash();
    }
    return -ENOSYS;
}

// The first stack of a program: the count of its words, pointers to them, and NULL (program.S).
static uintptr_t give_words(const char *line) {
    static const char *const skipped = "virtio_mmio.device=";  // for the kernel
    char *text = (char *)STACK_TOP - 2 * PAGE_SIZE;  // a command line takes up to one
    uint64_t *stack = (uint64_t *)text - (MAX_WORDS + 2), count = 1;
    stack[1] = (uintptr_t)text;  // its name: empty
    *text++ = 0;
    while (*line && count < MAX_WORDS) {
        if (*line == ' ') {
            line++;
            continue;
        }
        if (!starts_with(line, skipped))
            stack[++count] = (uintptr_t)text;
        while (*line && *line != ' ')
            *text++ = *line++;
        *text++ = 0;
    }
    stack[0] = count;
    stack[count + 1] = 0;
    return (uintptr_t)stack;
}

int main(const struct hvm_start_info *info) {
    command_line = (const char *)info->cmdline_paddr;
    memory_end = ram_end(info, PROGRAM);
    if (memory_end < STACK_TOP) {
        print("6 MiB of memory is the least\n");
        return 1;
    }
    set_interrupt_handler(VECTOR_BREAKPOINT, (void *)system_call_trap, 3);
    ring_3_allow(PROGRAM, LARGE_PAGE_SIZE);
    ring_3_enter((uintptr_t)_start, give_words(command_line));
}
