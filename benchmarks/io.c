/* io.c: the init of a Linux guest whose disk is measured: requests to /dev/vda with O_DIRECT.
 *
 *     gcc -O2 -static -o init io.c
 *
 * It loads the modules /1.ko, /2.ko and so on. Then it does the work that each of its arguments
 * names, PATTERN:KIND:SIZE:DEPTH, such as random:flushwrite:4096:16, and says how many requests
 * that was in how many microseconds. The kernel's asynchronous I/O keeps DEPTH of them in flight.
 * A flushwrite is a write and, once that is done, its fdatasync. The end is as in init.c.
 *
 * Source: io_setup(2), io_submit(2), io_getevents(2); Linux, include/uapi/linux/aio_abi.h. */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EXIT_PORT 0xf4
#define MAX_DEPTH 16
#define MAX_SIZE (1 << 20)
#define SETTLE_US 200000 /* until it is measured, and for how long */
#define MEASURE_US 1000000

struct work {
	bool random, write, flush;
	int disk;
	unsigned int size, depth;
	uint64_t blocks, next; /* of the disk; the next one, or the random numbers' state */
	char *buffers;
};

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ULL + now.tv_nsec / 1000;
}

static void load_modules(void)
{
	for (int number = 1;; number++) {
		char path[16];
		int module;

		snprintf(path, sizeof(path), "/%d.ko", number);
		module = open(path, O_RDONLY);
		if (module < 0)
			return;
		if (syscall(SYS_finit_module, module, "", 0))
			err(1, "%s", path);
		close(module);
	}
}

static void aim(struct work *work, struct iocb *request)
{
	uint64_t block = work->next++;

	if (work->random) { /* Knuth's MMIX */
		work->next = block * 6364136223846793005ULL + 1442695040888963407ULL;
		block = work->next >> 33;
	}
	request->aio_lio_opcode = work->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
	request->aio_buf = (uintptr_t)work->buffers + request->aio_data * MAX_SIZE;
	request->aio_nbytes = work->size;
	request->aio_offset = block % work->blocks * work->size;
}

/* What came of a request: whether all of it is done, and if it isn't, it is now the rest. */
static bool done(const struct work *work, struct iocb *request, int64_t result)
{
	if (result != (int64_t)request->aio_nbytes)
		errx(1, "a request of %llu bytes: %lld", request->aio_nbytes, (long long)result);
	if (!work->flush || request->aio_lio_opcode == IOCB_CMD_FDSYNC)
		return true;
	request->aio_lio_opcode = IOCB_CMD_FDSYNC;
	request->aio_buf = request->aio_nbytes = request->aio_offset = 0;
	return false;
}

static void submit(aio_context_t context, long count, struct iocb **requests)
{
	if (count && syscall(SYS_io_submit, context, count, requests) != count)
		err(1, "io_submit");
}

static void measure(struct work *work, const char *name)
{
	struct iocb requests[MAX_DEPTH] = {0}, *again[MAX_DEPTH];
	struct io_event events[MAX_DEPTH];
	aio_context_t context = 0;
	uint64_t begun = now_us(), start = 0, end = 0, count = 0;
	unsigned int in_flight = work->depth;

	if (syscall(SYS_io_setup, MAX_DEPTH, &context))
		err(1, "io_setup");
	for (unsigned int i = 0; i < work->depth; i++) {
		requests[i].aio_data = i;
		requests[i].aio_fildes = work->disk;
		aim(work, again[i] = &requests[i]);
	}
	submit(context, in_flight, again);
	while (in_flight) {
		long got = syscall(SYS_io_getevents, context, 1, MAX_DEPTH, events, NULL);
		uint64_t now = now_us();
		long left = 0;

		if (got < 1)
			err(1, "io_getevents");
		for (long i = 0; i < got; i++) {
			struct iocb *request = &requests[events[i].data];

			if (done(work, request, events[i].res)) {
				count++;
				if (end) { /* it isn't repeated */
					in_flight--;
					continue;
				}
				aim(work, request);
			}
			again[left++] = request;
		}
		if (!start && now - begun >= SETTLE_US) {
			start = now;
			count = 0;
		} else if (start && !end && now - start >= MEASURE_US) {
			end = now;
			printf("%s requests=%llu us=%llu\n", name, (unsigned long long)count,
			       (unsigned long long)(end - start));
		}
		submit(context, left, again);
	}
	syscall(SYS_io_destroy, context);
}

int main(int argc, char **argv)
{
	struct work work = {0};
	off_t bytes;

	work.buffers = mmap(NULL, MAX_DEPTH * MAX_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (work.buffers == MAP_FAILED)
		err(1, "mmap");
	load_modules();
	if (mount("dev", "/dev", "devtmpfs", 0, NULL))
		err(1, "/dev");
	work.disk = open("/dev/vda", O_RDWR | O_DIRECT);
	bytes = lseek(work.disk, 0, SEEK_END);
	if (bytes < MAX_SIZE)
		err(1, "/dev/vda");
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		char pattern[16], kind[16];

		if (sscanf(argv[i], "%15[^:]:%15[^:]:%u:%u", pattern, kind, &work.size,
			   &work.depth) != 4 ||
		    !work.size || work.size > MAX_SIZE || !work.depth || work.depth > MAX_DEPTH)
			errx(1, "%s: no work", argv[i]);
		work.random = !strcmp(pattern, "random");
		work.flush = !strcmp(kind, "flushwrite");
		work.write = work.flush || !strcmp(kind, "write");
		work.blocks = bytes / work.size;
		work.next = 0;
		measure(&work, argv[i]);
	}
	if (iopl(3))
		err(1, "iopl");
	outb(0, EXIT_PORT);
	return 1; /* an init that ends is a panic: it can't go unnoticed */
}
