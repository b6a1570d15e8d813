/*
 * relay.c: moves bytes between the host and the command, and signals to it, until it ends.
 *
 * A stream holds one buffer, which is filled when it's empty: a slow end holds back the other.
 *
 * A serial line has no end of input. On one, DLE is an escape: DLE DLE is a DLE, DLE EOT is the end,
 * and with anything else behind it both are dropped, as noise.
 *
 * Source: poll(2), signalfd(2), pipe(7), ascii(7), sched(7).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "init.h"

#define BUFFER (64 << 10)
#define LEFTOVER (1 << 20) /* bytes: the most that a pipe holds (pipe(7), pipe-max-size) */
#define DLE 0x10
#define EOT 0x04

struct stream {
	int from; /* -1: has ended */
	int to;
	bool is_input, is_terminals; /* towards the command; which has a terminal */
	bool is_stuffed, is_escaped;
	uint64_t count, limit; /* bytes that have been read, and where it ends */
	size_t start, end; /* of what the buffer holds */
	unsigned char buffer[BUFFER + 1]; /* and an EOT */
};

static struct stream input, output, errors;

static const int forwarded[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH };

static void our_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGCHLD);
	for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++)
		sigaddset(set, forwarded[i]);
}

/*
 * What the command writes goes on at once, also if it brings the kernel down with its next step. The
 * command itself is scheduled as usual. A kernel that refuses this only makes the relay slower.
 */
void relay_go_first(void)
{
	sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK,
			   &(struct sched_param){ .sched_priority = 1 });
}

void relay_block_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	our_signals(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
}

static bool is_passing(void)
{
	return errno == EAGAIN || errno == EINTR;
}

static bool is_empty(const struct stream *stream)
{
	return stream->start == stream->end;
}

/* No more comes in. The command learns of it, on either side. */
static void finish(struct stream *stream)
{
	if (stream->from < 0)
		return;
	if (!stream->is_input)
		close(stream->from);
	else if (stream->is_terminals)
		stream->buffer[stream->end++] = EOT; /* what a Ctrl-D types */
	stream->from = -1;
}

/* Takes the escapes out of the buffer. Returns whether it saw the end. */
static bool unstuff(struct stream *stream)
{
	bool ended = false;
	size_t to = 0;

	for (size_t i = 0; i < stream->end && !ended; i++) {
		unsigned char byte = stream->buffer[i];

		if (!stream->is_escaped && byte == DLE) {
			stream->is_escaped = true;
			continue;
		}
		if (!stream->is_escaped || byte == DLE)
			stream->buffer[to++] = byte;
		else
			ended = byte == EOT;
		stream->is_escaped = false;
	}
	stream->end = to;
	return ended;
}

/* Fills the empty buffer; false if nothing came. */
static bool fill(struct stream *stream)
{
	uint64_t left = stream->limit - stream->count;
	ssize_t size = read(stream->from, stream->buffer, left < BUFFER ? left : BUFFER);

	if (size < 0 && is_passing())
		return false;
	stream->start = 0;
	stream->end = size > 0 ? size : 0;
	stream->count += stream->end;
	/* A terminal that nobody has open any more says EIO. */
	if ((stream->is_stuffed && unstuff(stream)) || size <= 0 || stream->count == stream->limit)
		finish(stream);
	return size > 0;
}

/* Nobody will read it. */
static void give_up(struct stream *stream)
{
	finish(stream);
	stream->start = stream->end;
}

static void flush(struct stream *stream)
{
	ssize_t size = write(stream->to, stream->buffer + stream->start,
			     stream->end - stream->start);

	if (size >= 0)
		stream->start += size;
	else if (!is_passing())
		give_up(stream);
}

/* What poll should wait for: room if there is something, else something. */
static struct pollfd want(const struct stream *stream)
{
	if (!is_empty(stream))
		return (struct pollfd){ .fd = stream->to, .events = POLLOUT };
	return (struct pollfd){ .fd = stream->from, .events = POLLIN };
}

static bool has_no_reader(const struct pollfd *polled)
{
	/* A virtio-serial port says so here alone; to a writer it's just busy. */
	return (polled->events & POLLOUT) && (polled->revents & (POLLHUP | POLLOUT)) == POLLHUP;
}

/* Moves what can be moved now. */
static void move(struct stream *stream, const struct pollfd *polled)
{
	if (has_no_reader(polled))
		give_up(stream);
	if (is_empty(stream) && stream->from >= 0)
		fill(stream);
	if (!is_empty(stream))
		flush(stream);
	if (stream->from < 0 && is_empty(stream) && stream->is_input && !stream->is_terminals &&
	    stream->to >= 0) {
		close(stream->to);
		stream->to = -1;
	}
}

/*
 * After the command's end: what it has left. A process of its that goes on may still write, which
 * isn't waited for; if it does so all the time, there is a limit.
 */
static void drain(struct stream *stream)
{
	struct pollfd polled;

	stream->limit = stream->count + LEFTOVER;
	do {
		while (!is_empty(stream)) {
			polled = want(stream);
			poll(&polled, 1, -1);
			if (has_no_reader(&polled))
				give_up(stream);
			else
				flush(stream);
		}
	} while (stream->from >= 0 && fill(stream));
}

static void obey(const struct request *request, const struct command *command)
{
	switch (request->kind) {
	case REQUEST_SIGNAL:
		if (kill(-command->pid, request->signal) < 0)
			say("signal %d: %s", request->signal, strerror(errno));
		break;
	case REQUEST_WINDOW:
		if (command->terminal >= 0)
			ioctl(command->terminal, TIOCSWINSZ, &request->window);
		break;
	case REQUEST_INPUT_END:
		input.limit = request->size;
		if (input.count >= input.limit)
			finish(&input);
		break;
	}
}

static void listen(struct control *control, const struct command *command)
{
	struct request request;

	if (!control_read(control))
		control->fd = -1;
	while (control_next(control, &request))
		obey(&request, command);
}

/* Reaps, and passes signals on. Returns whether the command has ended. */
static bool take_signals(int fd, pid_t command, int *status)
{
	struct signalfd_siginfo info;
	bool has_ended = false;
	int how;
	pid_t pid;

	while (read(fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo != SIGCHLD) {
			kill(-command, info.ssi_signo);
			continue;
		}
		while ((pid = waitpid(-1, &how, WNOHANG)) > 0) {
			if (pid != command)
				continue;
			has_ended = true;
			*status = WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
		}
	}
	return has_ended;
}

static void open_stream(struct stream *stream, int from, int to)
{
	stream->from = from;
	stream->to = to;
	stream->limit = UINT64_MAX;
}

void relay_run(const struct host *host, const struct command *command, struct outcome *outcome)
{
	enum { INPUT, OUTPUT, ERRORS, SIGNALS, CONTROL, POLLED };
	struct control control = { .fd = host->control };
	bool has_ended = false;
	sigset_t set;
	int signals;

	open_stream(&input, host->input, command->input);
	input.is_input = true;
	input.is_terminals = command->terminal >= 0;
	input.is_stuffed = host->is_stuffed;
	open_stream(&output, command->output, host->output);
	open_stream(&errors, command->errors, host->errors);
	our_signals(&set);
	signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (signals < 0)
		die("signals: %s", strerror(errno));
	while (!has_ended) {
		struct pollfd polled[POLLED] = {
			[INPUT] = want(&input),
			[OUTPUT] = want(&output),
			[ERRORS] = want(&errors),
			[SIGNALS] = { .fd = signals, .events = POLLIN },
			[CONTROL] = { .fd = control.fd, .events = POLLIN },
		};

		if (poll(polled, POLLED, -1) < 0 && errno != EINTR)
			die("poll: %s", strerror(errno));
		if (polled[CONTROL].revents)
			listen(&control, command);
		move(&input, &polled[INPUT]);
		move(&output, &polled[OUTPUT]);
		move(&errors, &polled[ERRORS]);
		has_ended = take_signals(signals, command->pid, &outcome->status);
	}
	drain(&output);
	drain(&errors);
	outcome->output_size = output.count;
	outcome->errors_size = errors.count;
}
