# How gcc and the linker make a guest, for the Makefile that includes this file. Plain x86-64, no C
# library, no SSE, no red zone (interrupts use the same stack); what is at address 0 isn't code that
# can't happen; and in the image just what the guest needs.

image_base := 0x100000

guest_asflags := -DIMAGE_BASE=$(image_base) -g -Wall -Wextra -Ilib \
	-Wa,-mx86-used-note=no,--noexecstack
guest_cflags := $(guest_asflags) -std=gnu11 -Wformat=2 -ffreestanding -mno-red-zone \
	-mgeneral-regs-only -fno-delete-null-pointer-checks -fno-stack-protector -fno-pic \
	-fcf-protection=none -fno-asynchronous-unwind-tables -fstack-clash-protection
guest_ldflags := -nostdlib -static -no-pie -Wl,--build-id=none -Wl,--fatal-warnings \
	-Wl,-z,noseparate-code -Wl,-z,max-page-size=4096 -Wl,-Ttext-segment=$(image_base)
