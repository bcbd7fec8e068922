/* All that runs in the guest of bench.guest: its first process and only program. It loads the modules of /modules, takes the address
 * ADDRESS (from the kernel's command line) on eth0 and serves port 7777. A connection is one order, a line, answered when it is done:
 *
 *   read|write|commit sequential|random DEPTH BLOCK COUNT   COUNT blocks of /dev/vda past START, past the guest's page cache, DEPTH of them
 *                                          at a time; a write ends with a flush, a commit is flushed at once: what is answered is
 *                                          on the disk
 *   take|send sequential 1 1 COUNT         COUNT bytes over this connection, to the guest or from it
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PORT 7777
#define START (64ull << 20) /* before it lies what the guest boots from */
#define LENGTH (448ull << 20)
#define CHUNK (1 << 20)
#define DEEPEST 32
#define BUFFER (128ull << 20) /* so much that it does not matter where in the host's memory a part of it lies */

static char *buffer;

static void insist(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "LOAD-FAILED %s: %s\n", what, strerror(errno));
	for (;;)
		pause();
}

static void load_modules(void)
{
	char name[256];
	FILE *order = fopen("/modules/order", "r");
	insist(order != NULL, "/modules/order");
	while (fscanf(order, "%255s", name) == 1) {
		int file = open(name, O_RDONLY | O_CLOEXEC);
		insist(file >= 0 && syscall(SYS_finit_module, file, "", 0) == 0, name);
		close(file);
	}
	fclose(order);
}

static void take_address(const char *address)
{
	struct ifreq request = {.ifr_name = "eth0"};
	struct sockaddr_in *place = (struct sockaddr_in *)&request.ifr_addr;
	int control = socket(AF_INET, SOCK_DGRAM, 0);
	place->sin_family = AF_INET;
	insist(address && inet_pton(AF_INET, address, &place->sin_addr) == 1, "ADDRESS");
	for (int tries = 0; ioctl(control, SIOCSIFADDR, &request) != 0; tries++) { /* the NIC is found while we go on */
		insist(errno == ENODEV && tries < 200, "eth0");
		usleep(50000);
	}
	insist(inet_pton(AF_INET, "255.255.255.0", &place->sin_addr) == 1 && ioctl(control, SIOCSIFNETMASK, &request) == 0, "netmask");
	insist(ioctl(control, SIOCGIFFLAGS, &request) == 0, "eth0");
	request.ifr_flags |= IFF_UP;
	insist(ioctl(control, SIOCSIFFLAGS, &request) == 0, "eth0");
	close(control);
}

static int open_disk(void)
{
	int disk;
	for (int tries = 0; (disk = open("/dev/vda", O_RDWR | O_DIRECT)) < 0; tries++) {
		insist(errno == ENOENT && tries < 200, "/dev/vda");
		usleep(50000);
	}
	return disk;
}

static uint64_t place_of(uint64_t number, int random, uint64_t block)
{
	static uint64_t state = 1;
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return START + (random ? state >> 33 : number) % (LENGTH / block) * block;
}

static int use_disk(int disk, int writes, int commits, int random, unsigned depth, uint64_t block, uint64_t count)
{
	struct iocb orders[DEEPEST], *idle[DEEPEST], *order;
	struct io_event events[DEEPEST];
	aio_context_t context = 0;
	uint64_t begun = 0, done = 0;
	unsigned spare = depth;
	int result = syscall(SYS_io_setup, depth, &context);
	for (unsigned number = 0; number < depth; number++)
		idle[number] = &orders[number];
	while (result >= 0 && done < count) {
		while (result >= 0 && spare > 0 && begun < count) {
			order = idle[--spare];
			memset(order, 0, sizeof *order);
			order->aio_fildes = disk;
			order->aio_lio_opcode = writes ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
			order->aio_buf = (uintptr_t)buffer + begun * 37 % (BUFFER / block) * block; /* all over it */
			order->aio_nbytes = block;
			order->aio_offset = place_of(begun++, random, block);
			result = syscall(SYS_io_submit, context, 1, &order) == 1 ? 0 : -1;
		}
		int ended = result < 0 ? -1 : syscall(SYS_io_getevents, context, 1, DEEPEST, events, NULL);
		if (ended < 1)
			result = -1;
		for (int number = 0; number < ended; number++) {
			if (events[number].res != (int64_t)block)
				result = -1;
			idle[spare++] = (struct iocb *)(uintptr_t)events[number].obj;
			done++;
		}
		if (commits && result >= 0)
			result = fdatasync(disk);
	}
	syscall(SYS_io_destroy, context);
	return result >= 0 && writes ? fdatasync(disk) : result;
}

static int use_network(int peer, int sends, uint64_t count)
{
	while (count > 0) {
		size_t part = count < CHUNK ? count : CHUNK;
		ssize_t moved = sends ? send(peer, buffer, part, 0) : recv(peer, buffer, part, 0);
		if (moved <= 0)
			return -1;
		count -= moved;
	}
	return 0;
}

static void serve(int disk, int peer)
{
	char line[128] = "", verb[16], how[16];
	unsigned long long depth, block, count;
	size_t length = 0;
	int done = -1;
	while (length < sizeof line - 1 && recv(peer, line + length, 1, 0) == 1 && line[length] != '\n')
		length++;
	if (sscanf(line, "%15s %15s %llu %llu %llu", verb, how, &depth, &block, &count) == 5 && depth > 0 && depth <= DEEPEST && block > 0 &&
	    block <= CHUNK) {
		int commits = !strcmp(verb, "commit");
		if (commits || !strcmp(verb, "read") || !strcmp(verb, "write"))
			done = use_disk(disk, commits || !strcmp(verb, "write"), commits, !strcmp(how, "random"), depth, block, count);
		else if (!strcmp(verb, "take") || !strcmp(verb, "send"))
			done = use_network(peer, !strcmp(verb, "send"), count);
	}
	insist(send(peer, done == 0 ? "D" : "E", 1, MSG_NOSIGNAL) == 1 || errno == EPIPE || errno == ECONNRESET, "answer");
	close(peer);
}

int main(void)
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(INADDR_ANY)};
	int yes = 1, disk, door;
	insist(mount("dev", "/dev", "devtmpfs", 0, "") == 0 || errno == EBUSY, "/dev");
	load_modules();
	buffer = aligned_alloc(CHUNK, BUFFER);
	insist(buffer != NULL, "memory");
	memset(buffer, 'c', BUFFER); /* not zeroes, which QEMU may write as holes */
	disk = open_disk();
	take_address(getenv("ADDRESS"));
	door = socket(AF_INET, SOCK_STREAM, 0);
	insist(door >= 0 && setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0, "socket");
	insist(bind(door, (struct sockaddr *)&here, sizeof here) == 0 && listen(door, 4) == 0, "port");
	printf("LOAD-READY\n");
	fflush(stdout);
	for (;;) {
		int peer = accept(door, NULL, NULL);
		insist(peer >= 0, "accept");
		serve(disk, peer);
	}
}
