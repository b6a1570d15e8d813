/* vm.c: /dev/kvm and virtual machines. Each function is one ioctl of the KVM API. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

int ringlet_kvm_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int ringlet_kvm_api_version(int kvm)
{
	return ringlet_ioctl(kvm, KVM_GET_API_VERSION, NULL);
}

int ringlet_kvm_mmap_size(int kvm)
{
	return ringlet_ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
}

int ringlet_kvm_supported_cpuid(int kvm, void *entries, int count)
{
	struct kvm_cpuid2 *cpuid;
	int result;

	if (count < 0 || count > 4096)
		return -EINVAL;
	cpuid = calloc(1, sizeof(*cpuid) + (size_t)count * sizeof(cpuid->entries[0]));
	if (!cpuid)
		return -ENOMEM;
	cpuid->nent = (uint32_t)count;
	result = ringlet_ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
	if (result >= 0) {
		result = (int)cpuid->nent;
		memcpy(entries, cpuid->entries, (size_t)result * sizeof(cpuid->entries[0]));
	}
	free(cpuid);
	return result;
}

int ringlet_check_extension(int fd, int capability)
{
	return ringlet_ioctl(fd, KVM_CHECK_EXTENSION, (void *)(long)capability);
}

int ringlet_vm_create(int kvm)
{
	return ringlet_ioctl(kvm, KVM_CREATE_VM, NULL);
}

int ringlet_vm_enable_capability(int vm, uint32_t capability, uint64_t argument)
{
	struct kvm_enable_cap enable = { .cap = capability, .args = { argument } };

	return ringlet_ioctl(vm, KVM_ENABLE_CAP, &enable);
}

int ringlet_vm_set_tss_address(int vm, uint64_t address)
{
	return ringlet_ioctl(vm, KVM_SET_TSS_ADDR, (void *)address);
}

int ringlet_vm_set_memory(int vm, uint32_t slot, int readonly, uint64_t address, uint64_t size,
			  void *host)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = readonly ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = address,
		.memory_size = size,
		.userspace_addr = (uint64_t)host,
	};

	return ringlet_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

int ringlet_vm_create_irqchip(int vm)
{
	return ringlet_ioctl(vm, KVM_CREATE_IRQCHIP, NULL);
}

int ringlet_vm_get_irqchip(int vm, uint32_t chip, void *state)
{
	struct kvm_irqchip irqchip = { .chip_id = chip };
	int result = ringlet_ioctl(vm, KVM_GET_IRQCHIP, &irqchip);

	if (result == 0)
		memcpy(state, &irqchip.chip, sizeof(irqchip.chip));
	return result;
}

int ringlet_vm_create_pit(int vm)
{
	struct kvm_pit_config config = { .flags = KVM_PIT_SPEAKER_DUMMY };
	struct kvm_pit_state2 state;
	struct kvm_pit_channel_state *timer = &state.channels[0];
	int result = ringlet_ioctl(vm, KVM_CREATE_PIT2, &config);

	if (result < 0)
		return result;
	/* As a PC's firmware leaves channel 0: 18.2 interrupts a second. Kernels are written
	 * that change the counter alone, which KVM's mode after a reset ignores. */
	result = ringlet_ioctl(vm, KVM_GET_PIT2, &state);
	if (result < 0)
		return result;
	timer->mode = 2; /* rate generator */
	timer->count = 0; /* 65536 */
	timer->rw_mode = timer->read_state = timer->write_state = 3; /* low byte, then high byte */
	timer->gate = 1;
	return ringlet_ioctl(vm, KVM_SET_PIT2, &state);
}

int ringlet_vm_set_irq(int vm, uint32_t gsi, int level)
{
	struct kvm_irq_level irq = { .irq = gsi, .level = (uint32_t)level };

	return ringlet_ioctl(vm, KVM_IRQ_LINE, &irq);
}

int ringlet_vm_irqfd(int vm, int fd, uint32_t gsi, int deassign)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)fd,
		.gsi = gsi,
		.flags = deassign ? KVM_IRQFD_FLAG_DEASSIGN : 0,
	};

	return ringlet_ioctl(vm, KVM_IRQFD, &irqfd);
}

int ringlet_vm_ioeventfd(int vm, int fd, uint64_t address, uint32_t length, int port, int match,
			 uint64_t value, int deassign)
{
	struct kvm_ioeventfd ioeventfd = {
		.datamatch = value,
		.addr = address,
		.len = length,
		.fd = fd,
		.flags = (port ? KVM_IOEVENTFD_FLAG_PIO : 0u) |
			 (match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0u) |
			 (deassign ? KVM_IOEVENTFD_FLAG_DEASSIGN : 0u),
	};

	return ringlet_ioctl(vm, KVM_IOEVENTFD, &ioeventfd);
}

int ringlet_vm_coalesce_port(int vm, uint16_t port)
{
	struct kvm_coalesced_mmio_zone zone = { .addr = port, .size = 1, .pio = 1 };

	return ringlet_ioctl(vm, KVM_REGISTER_COALESCED_MMIO, &zone);
}
