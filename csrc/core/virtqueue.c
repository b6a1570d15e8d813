/*
 * virtqueue.c: the device's side of a split virtqueue. Source: virtio 1.2, 2.7.
 *
 * The driver may change anything in guest memory at any time, so each value is read once, checked,
 * and then used. What it breaks is its own memory: every address is checked against the guest's
 * regions, and a chain ends after RINGLET_CHAIN_MAX buffers, however it is tied.
 */
#include "internal.h"

#define DESC_F_NEXT 1
#define DESC_F_WRITE 2
#define DESC_F_INDIRECT 4
#define AVAIL_F_NO_INTERRUPT 1

struct descriptor {
	uint64_t address;
	uint32_t size;
	uint16_t flags;
	uint16_t next;
};

/* The host's address of `size` bytes of the guest, or NULL where they don't lie in one region. */
static uint8_t *at(const struct ringlet_virtqueue *queue, uint64_t address, uint64_t size,
		   uint32_t *region)
{
	for (uint32_t i = 0; i < queue->region_count; i++) {
		const struct ringlet_region *r = &queue->regions[i];
		uint64_t offset = address - r->address;

		if (address >= r->address && offset <= r->size && size <= r->size - offset) {
			if (region)
				*region = i;
			return r->host + offset;
		}
	}
	return NULL;
}

/* The ring's fields are aligned: ringlet_virtqueue_enable has seen to it. */
static uint16_t load(const uint8_t *field)
{
	return __atomic_load_n((const uint16_t *)field, __ATOMIC_ACQUIRE);
}

static void store(uint8_t *field, uint16_t value)
{
	__atomic_store_n((uint16_t *)field, value, __ATOMIC_RELEASE);
}

/* A table of an indirect descriptor need not be aligned. */
static struct descriptor read_descriptor(const uint8_t *table, uint32_t index)
{
	struct descriptor descriptor;

	__builtin_memcpy(&descriptor, table + 16 * index, sizeof(descriptor));
	/* Not again from guest memory when its fields are looked at. */
	__asm__ volatile("" : "+m"(descriptor));
	return descriptor;
}

int ringlet_virtqueue_enable(struct ringlet_virtqueue *queue, uint32_t size, uint64_t descriptors,
			     uint64_t available, uint64_t used, int event_index)
{
	if (size == 0 || size > RINGLET_QUEUE_MAX || size & (size - 1))
		return -EINVAL;
	if (descriptors % 16 || available % 2 || used % 4)
		return -EINVAL;
	queue->descriptors = at(queue, descriptors, 16 * size, NULL);
	queue->available = at(queue, available, 6 + 2 * size, NULL);
	queue->used = at(queue, used, 6 + 8 * size, NULL);
	if (!queue->descriptors || !queue->available || !queue->used)
		return -EFAULT;
	queue->size = size;
	queue->event_index = event_index;
	queue->next_available = queue->next_used = queue->published = 0;
	return 0;
}

static int add_buffer(const struct ringlet_virtqueue *queue, struct ringlet_chain *chain,
		      const struct descriptor *descriptor)
{
	struct ringlet_buffer *buffer = &chain->buffers[chain->count];
	int writable = descriptor->flags & DESC_F_WRITE;
	uint32_t region;
	uint8_t *host;

	if (descriptor->size == 0)
		return 0;
	if (!writable && chain->count != chain->readable)
		return -EPROTO; /* what the device writes comes last */
	if (chain->count == RINGLET_CHAIN_MAX)
		return -ELOOP;
	host = at(queue, descriptor->address, descriptor->size, &region);
	if (!host)
		return -EFAULT;
	buffer->region = region;
	buffer->size = descriptor->size;
	buffer->offset = (uint64_t)(host - queue->regions[region].host);
	chain->count++;
	chain->readable += !writable;
	return 0;
}

static int walk(const struct ringlet_virtqueue *queue, struct ringlet_chain *chain)
{
	const uint8_t *table = queue->descriptors;
	uint32_t table_size = queue->size, index = chain->head;
	int indirect = 0, result;

	/* Each step is one descriptor; those without a byte count too, or they could be a loop. */
	for (int steps = 0; steps <= RINGLET_CHAIN_MAX; steps++) {
		struct descriptor descriptor;

		if (index >= table_size)
			return -ERANGE;
		descriptor = read_descriptor(table, index);
		if (descriptor.flags & DESC_F_INDIRECT) {
			if (indirect || descriptor.flags & DESC_F_NEXT || descriptor.size % 16)
				return -EPROTO;
			table_size = descriptor.size / 16;
			table = at(queue, descriptor.address, descriptor.size, NULL);
			if (!table)
				return -EFAULT;
			indirect = 1;
			index = 0;
			continue;
		}
		result = add_buffer(queue, chain, &descriptor);
		if (result < 0)
			return result;
		if (!(descriptor.flags & DESC_F_NEXT))
			return 0;
		index = descriptor.next;
	}
	return -ELOOP;
}

int ringlet_virtqueue_pop(struct ringlet_virtqueue *queue, struct ringlet_chain *chain)
{
	uint16_t waiting = load(queue->available + 2) - queue->next_available;
	int result;

	if (waiting == 0)
		return 0;
	if (waiting > queue->size)
		return -EOVERFLOW;
	chain->head = load(queue->available + 4 + 2 * (queue->next_available & (queue->size - 1)));
	chain->count = chain->readable = 0;
	queue->next_available++;
	result = walk(queue, chain);
	return result < 0 ? result : 1;
}

int ringlet_virtqueue_pop_batch(struct ringlet_virtqueue *queue, struct ringlet_chain *chain,
				struct ringlet_batch *batch)
{
	uint32_t used = 0;

	/* One more chain has at most RINGLET_CHAIN_MAX buffers. */
	for (batch->count = 0; batch->count < RINGLET_BATCH_MAX && used <= RINGLET_CHAIN_MAX;
	     batch->count++) {
		uint16_t before = queue->next_available;
		int result = ringlet_virtqueue_pop(queue, chain);

		if (result < 0 && batch->count) {
			queue->next_available = before;
			break;
		}
		if (result <= 0)
			return result < 0 ? result : (int)batch->count;
		batch->heads[batch->count] = chain->head;
		batch->buffers[batch->count] = chain->count;
		batch->readable[batch->count] = chain->readable;
		__builtin_memcpy(&batch->all[used], chain->buffers,
				 chain->count * sizeof(*chain->buffers));
		used += chain->count;
	}
	return (int)batch->count;
}

int ringlet_virtqueue_arm(struct ringlet_virtqueue *queue)
{
	/* avail_event: signal once the entry that is read next is there (2.7.10). */
	if (queue->event_index)
		store(queue->used + 4 + 8 * queue->size, queue->next_available);
	/* The driver stores idx and loads avail_event: one of the two sees the other's store. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return load(queue->available + 2) != queue->next_available;
}

void ringlet_virtqueue_push(struct ringlet_virtqueue *queue, uint32_t head, uint32_t written)
{
	uint32_t entry[2] = { head, written };

	__builtin_memcpy(queue->used + 4 + 8 * (queue->next_used & (queue->size - 1)), entry, 8);
	queue->next_used++;
}

int ringlet_virtqueue_publish(struct ringlet_virtqueue *queue)
{
	uint16_t old = queue->published, new = queue->next_used, event;

	if (old == new)
		return 0;
	store(queue->used + 2, new);
	queue->published = new;
	/* The driver stores used_event and loads idx: one of the two sees the other's store. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!queue->event_index)
		return !(load(queue->available) & AVAIL_F_NO_INTERRUPT);
	event = load(queue->available + 4 + 2 * queue->size); /* used_event */
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}
