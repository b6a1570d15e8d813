/* Writes six bytes to /dev/null again and again; prints how many nanoseconds each call takes. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

int main(int count, char **words)
{
	long calls = count > 1 ? atol(words[1]) : 1000;
	int file = open("/dev/null", O_WRONLY);
	long start = now();

	for (long i = 0; i < calls; i++)
		if (write(file, "hello\n", 6) != 6)
			return 1;
	printf("%ld\n", (now() - start) / calls);
	return 0;
}
