// A small kernel. Its command line is a list of addresses in its heap. It writes a number to each
// address, and reads all numbers again. The heap has no memory at first: a page gets its memory
// when the kernel touches the page, from the page-fault handler.

#include <stddef.h>
#include <stdint.h>

#define KERNEL_BASE 0 // physical address 0 is here, too
#define HEAP 0xffffffffc0000000
#define PAGE_SIZE 4096
#define HEAP_PAGES 512
#define PRESENT_WRITABLE 3

// COM1, a 16550A UART (National Semiconductor PC16550D data sheet, section 8).
#define UART_THR 0x3f8 // write: a byte to transmit
#define UART_LSR 0x3fd // the line status
#define LSR_THRE 0x20  // THR is empty: it takes a byte

// What is written here goes to the grader, which looks at the registers.
#define CHECKPOINT_PORT 0xe9
// A byte written here ends the run, and is its status.
#define EXIT_PORT 0xf4
#define STATUS_OUT_OF_HEAP 2
#define STATUS_WRONG_NUMBER 3

// What the loader tells (Xen, public/arch-x86/hvm/start_info.h). All addresses are physical.
struct start_info {
    uint32_t magic, version, flags, modules;
    uint64_t module_list, command_line, rsdp, memory_map;
    uint32_t memory_map_entries, reserved;
};

struct memory_map_entry {
    uint64_t address, size;
    uint32_t type, reserved;
};
#define TYPE_RAM 1

// An entry of the interrupt descriptor table (Intel SDM volume 3, "64-bit mode IDT").
struct gate {
    uint16_t offset_low, selector, attributes, offset_middle;
    uint32_t offset_high, reserved;
};
#define CODE_SEGMENT 0x08
#define INTERRUPT_GATE 0x8e00
#define PAGE_FAULT 14

// boot.S
extern uint64_t heap_table_1[HEAP_PAGES];
void page_fault(void);

static struct gate idt[PAGE_FAULT + 1];
static uint64_t end_of_memory; // the frames from here on are in use, or don't exist

static void *physical(uint64_t address) {
    return (void *)(KERNEL_BASE + address);
}

static void outb(uint16_t port, uint8_t value) {
    asm volatile("out %0, %1" : : "a"(value), "d"(port));
}

static uint8_t inb(uint16_t port) {
    uint8_t value;
    asm volatile("in %1, %0" : "=a"(value) : "d"(port));
    return value;
}

static void end(uint8_t status) {
    outb(EXIT_PORT, status);
    for (;;)
        asm volatile("hlt");
}

// The UART takes one byte at a time.
static void print(const char *text) {
    for (; *text; text++) {
        while (!(inb(UART_LSR) & LSR_THRE))
            ;
        outb(UART_THR, *text);
    }
}

// Finds the end of the last range of RAM.
static void find_memory(const struct start_info *info) {
    const struct memory_map_entry *map = physical(info->memory_map);
    for (uint32_t i = 0; i < info->memory_map_entries; i++)
        if (map[i].type == TYPE_RAM)
            end_of_memory = map[i].address + map[i].size;
}

// Takes the last free frame of memory; the next one is the one before.
static uint64_t take_frame(void) {
    end_of_memory -= PAGE_SIZE;
    return end_of_memory;
}

static void set_up_interrupts(void) {
    uint64_t handler = (uint64_t)page_fault;
    idt[PAGE_FAULT] = (struct gate){
        .offset_low = (uint16_t)handler,
        .selector = CODE_SEGMENT,
        .attributes = INTERRUPT_GATE,
        .offset_middle = (uint16_t)(handler >> 16),
        .offset_high = (uint32_t)(handler >> 32),
    };
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) idt_register = {sizeof idt - 1, (uint64_t)idt};
    asm volatile("lidt %0" : : "m"(idt_register));
}

// Gives the page at `address` a frame. `error` says what the access was; nothing here needs it.
void handle_page_fault(uint64_t address, uint64_t error) {
    (void)error;
    uint64_t page = (address - HEAP) / PAGE_SIZE;
    if (address < HEAP || page >= HEAP_PAGES)
        end(STATUS_OUT_OF_HEAP);
    heap_table_1[page] = take_frame() | PRESENT_WRITABLE;
}

// Reads a hexadecimal number, and goes on behind it; returns 0 at the end of the text.
static uint64_t read_number(const char **text) {
    uint64_t number = 0;
    while (**text == ' ')
        ++*text;
    for (; **text && **text != ' '; ++*text)
        number = number * 16 + (**text <= '9' ? **text - '0' : **text - 'a' + 10);
    return number;
}

void kernel_main(const struct start_info *info) {
    const char *addresses = physical(info->command_line);
    uint64_t address;

    print("The kernel is up. Its command line: ");
    print(addresses);
    print("\n");
    find_memory(info);
    set_up_interrupts();

    outb(CHECKPOINT_PORT, 1);
    for (const char *next = addresses; (address = read_number(&next));)
        *(volatile uint64_t *)address = ~address;
    outb(CHECKPOINT_PORT, 2);

    for (const char *next = addresses; (address = read_number(&next));)
        if (*(volatile uint64_t *)address != ~address) {
            print("A number in the heap is wrong.\n");
            end(STATUS_WRONG_NUMBER);
        }
    print("All numbers in the heap are right.\n");
    end(0);
}
