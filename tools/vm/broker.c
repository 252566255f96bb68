/* SPDX-License-Identifier: MIT */
/*
 * broker.c - see broker.h.
 */
#include "broker.h"

#include "famez/peer.h"
#include "process.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ASK_TIMEOUT_MS 10000

/* The last line of its log says why it ended. */
static int ended(struct broker *b, const char *log)
{
	char line[512] = "", next[512];
	FILE *said = fopen(log, "re");

	while (said && fgets(next, sizeof(next), said))
		(void)snprintf(line, sizeof(line), "%s", next);
	if (said)
		(void)fclose(said); /* only read from */
	b->pid = 0;
	line[strcspn(line, "\n")] = 0;
	return say("famez-server ended: %s", *line ? line : "it did not say why");
}

/* It tells a socket as it would tell systemd. */
static int wait_ready(struct broker *b, int told, const char *log)
{
	int64_t until = now_ms() + BROKER_READY_MS;
	struct pollfd word = {.fd = told, .events = POLLIN};
	char what[512];

	while (now_ms() < until) {
		int ready = poll(&word, 1, 100);
		ssize_t bytes = ready > 0 ? recv(told, what, sizeof(what) - 1, MSG_DONTWAIT) : 0;

		if (bytes > 0) {
			what[bytes] = 0;
			if (strstr(what, "READY=1"))
				return 0;
		}
		if (waitpid(b->pid, NULL, WNOHANG) == b->pid)
			return ended(b, log);
		if (ready < 0 && errno == EINTR)
			return -1; /* the operator's wish */
	}
	return say("famez-server is not ready after %d s", BROKER_READY_MS / 1000);
}

static int listen_for_word(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
		return fd;
	(void)say("%s: %s", path, strerror(errno));
	if (fd >= 0)
		(void)close(fd); /* never used */
	return -1;
}

static int start(struct broker *b, const char *program, const char *folder, unsigned peers,
	unsigned vectors, const char *binds, int told)
{
	char log[PATH_MAX], notify[sizeof(b->socket)], n[16], p[16];
	char *argv[] = {(char *)program, (char *)"--foreground", (char *)"-S", b->socket,
		(char *)"-n", n, (char *)"--peers", p, (char *)"--bind", (char *)binds, NULL};
	struct process how = {.argv = argv, .notify = notify, .apart = true};

	(void)snprintf(log, sizeof(log), "%s/broker.log", folder);
	(void)snprintf(notify, sizeof(notify), "%s/notify", folder);
	(void)snprintf(n, sizeof(n), "%u", vectors);
	(void)snprintf(p, sizeof(p), "%u", peers);
	how.output = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (how.output < 0)
		return say("%s: %s", log, strerror(errno));
	b->pid = process_start(&how);
	(void)close(how.output); /* the broker's */
	if (b->pid < 0) {
		int err = -b->pid;

		b->pid = 0;
		return say("famez-server: %s", strerror(err));
	}
	return wait_ready(b, told, log);
}

int broker_start(
	struct broker *b, const char *folder, unsigned peers, unsigned vectors, const char *binds)
{
	char program[PATH_MAX], notify[sizeof(b->socket)];
	int told, err;

	if (!process_path("famez-server", "../../broker", program, sizeof(program)))
		return say("no famez-server beside famez-vm or in $PATH; or name a running one's "
			   "socket with -S");
	if ((size_t)snprintf(notify, sizeof(notify), "%s/notify", folder) >= sizeof(notify) ||
		(size_t)snprintf(b->socket, sizeof(b->socket), "%s/famez.sock", folder) >=
			sizeof(b->socket))
		return say("the path of the run's folder is too long for a socket: %s", folder);
	told = listen_for_word(notify);
	if (told < 0)
		return -1;
	err = start(b, program, folder, peers, vectors, binds, told);
	(void)close(told); /* heard enough */
	(void)unlink(notify);
	if (err)
		broker_end(b);
	return err;
}

int broker_ask(const char *socket, unsigned *vectors, size_t *bytes)
{
	struct famez_join how = {.socket = socket, .timeout_ms = ASK_TIMEOUT_MS};
	int64_t until = now_ms() + ASK_TIMEOUT_MS;
	struct famez_event event;
	struct famez *f;
	int err = famez_join(&f, &how);

	if (err)
		return say("no broker at %s: %s", socket, strerror(-err));
	/* Our own vectors come last, one by one; the broker sends them all at once. */
	do {
		struct pollfd more = {.fd = famez_fd(f), .events = POLLIN};

		while (famez_next(f, &event) > 0) {
		}
		*vectors = famez_vectors(f, (uint16_t)famez_id(f));
		if (poll(&more, 1, *vectors ? 100 : 1000) == 0 && *vectors)
			break;
	} while (now_ms() < until);
	(void)famez_memory(f, bytes);
	famez_leave(f);
	return *vectors ? 0 : say("the broker at %s gives no vectors", socket);
}

void broker_end(struct broker *b)
{
	process_end(b->pid, BROKER_END_MS);
	b->pid = 0;
}
