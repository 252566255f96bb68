/* SPDX-License-Identifier: MIT */
/*
 * server.c - the server under stress: one that we start and stop, or one that runs already.
 *
 * Owns the process that it starts, its log's pipe, and a private folder with its socket. Of any
 * server it only reads /proc.
 */
#include "server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "famez/mailbox.h"
#include "host.h"
#include "progress.h"

#define START_NS UINT64_C(30000000000)
#define STOP_NS  UINT64_C(30000000000)

uint64_t server_memory_bytes(const struct server_needs *needs)
{
	uint64_t least, bytes = 1;

	if (!needs->mail)
		return 1u << 20;
	/* As famez-server(8) says of -l: 64 KiB lanes while that is at most 512 MiB, and less with
	 * more peers. Only an estimate: the server decides. */
	least = famez_geometry_needs(needs->peers + 2, needs->peers > 64 ? 8192 : 65536);
	if (needs->peers > 1000)
		least = famez_geometry_needs(needs->peers + 2, FAMEZ_LANE_BYTES_MIN);
	while (bytes < least)
		bytes *= 2;
	return bytes;
}

static void find(struct server *s, const char *program)
{
	static const char *const PLACES[] = {
		"famez-server", "../sbin/famez-server", "../../broker/famez-server", NULL};

	if (program)
		(void)snprintf(s->program, sizeof(s->program), "%s", program);
	else
		host_find("famez-server", PLACES, s->program, sizeof(s->program));
}

static void become(const struct server *s, const struct server_needs *needs, int log)
{
	char peers[16], vectors[16];
	const char *words[20];
	unsigned n = 0;

	(void)snprintf(peers, sizeof(peers), "%u", needs->peers);
	(void)snprintf(vectors, sizeof(vectors), "%u", needs->vectors);
	words[n++] = s->program;
	words[n++] = "-F", words[n++] = "-S", words[n++] = s->socket;
	words[n++] = "-n", words[n++] = vectors;
	words[n++] = "--peers", words[n++] = peers;
	if (!needs->mail) {
		words[n++] = "--layout", words[n++] = "plain";
		words[n++] = "-l", words[n++] = "1M";
	}
	words[n] = NULL;
	/* It ends with us whatever becomes of us, and ^C is for us to pass on. */
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	(void)setpgid(0, 0);
	(void)dup2(log, STDERR_FILENO);
	(void)dup2(log, STDOUT_FILENO);
	execvp(s->program, (char *const *)words);
	dprintf(log, "cannot run %s: %s\n", s->program, strerror(errno));
	_exit(127);
}

/* Lines of its log, until one says that it listens. */
static int await_listening(struct server *s, struct verdict *verdict)
{
	uint64_t until_ns = progress_now_ns() + START_NS;
	char said[8192];
	size_t filled = 0;

	for (;;) {
		struct pollfd fd = {.fd = s->log, .events = POLLIN};
		uint64_t now_ns = progress_now_ns();
		ssize_t got = -1;

		if (now_ns < until_ns && poll(&fd, 1, (int)((until_ns - now_ns) / 1000000) + 1) > 0)
			got = read(s->log, said + filled, sizeof(said) - 1 - filled);
		if (got > 0)
			filled += (size_t)got;
		said[filled] = '\0';
		if (strstr(said, "event=listening"))
			return 0;
		if (got > 0 && filled + 1 < sizeof(said))
			continue;
		/* Its last line says why. */
		while (filled > 0 && said[filled - 1] == '\n')
			said[--filled] = '\0';
		return verdict_give(verdict, VERDICT_NOT_JOINED, "the server did not start: %s",
			strrchr(said, '\n') ? strrchr(said, '\n') + 1
			: filled            ? said
					    : "it says nothing");
	}
}

int server_start(struct server *s, const struct server_needs *needs, struct verdict *verdict)
{
	const char *dir = getenv("XDG_RUNTIME_DIR"); /* NOLINT(concurrency-mt-unsafe) */
	int pipes[2];

	*s = (struct server){.log = -1};
	find(s, needs->program);
	if (dir == NULL || strlen(dir) > 32 || access(dir, W_OK))
		dir = "/tmp";
	(void)snprintf(s->folder, sizeof(s->folder), "%s/famez-stress.XXXXXX", dir);
	if (mkdtemp(s->folder) == NULL) {
		s->folder[0] = '\0';
		return verdict_give(verdict, VERDICT_NOT_JOINED, "no folder for a socket in %s: %s",
			dir, strerror(errno));
	}
	(void)snprintf(s->socket, sizeof(s->socket), "%s/sock", s->folder);
	if (pipe2(pipes, O_CLOEXEC))
		return verdict_give(verdict, VERDICT_NOT_JOINED, "pipe: %s", strerror(errno));
	s->log = pipes[0];
	s->pid = fork();
	if (s->pid == 0)
		become(s, needs, pipes[1]);
	(void)close(pipes[1]);
	if (s->pid < 0) {
		s->pid = 0;
		return verdict_give(verdict, VERDICT_NOT_JOINED, "fork: %s", strerror(errno));
	}
	s->watched = s->pid;
	if (await_listening(s, verdict))
		return -1;
	(void)fcntl(s->log, F_SETFL, O_NONBLOCK); /* or it is read to its end only */
	return 0;
}

void server_given(struct server *s, const char *socket)
{
	*s = (struct server){.log = -1};
	(void)snprintf(s->socket, sizeof(s->socket), "%s", socket);
}

pid_t server_pid_of_our_socket(const char *socket)
{
	for (int fd = 3; fd < 256; fd++) {
		struct sockaddr_un at = {0};
		struct ucred who = {0};
		socklen_t length = sizeof(at), size = sizeof(who);

		if (getpeername(fd, (struct sockaddr *)&at, &length) == 0 &&
			at.sun_family == AF_UNIX && strcmp(at.sun_path, socket) == 0 &&
			getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0)
			return who.pid;
	}
	return 0;
}

/* How many files a folder has; 0 where we may not look. */
static uint64_t entries(const char *path)
{
	DIR *folder = opendir(path);
	uint64_t n = 0;

	while (folder && readdir(folder)) /* NOLINT(concurrency-mt-unsafe): ours alone */
		n++;
	if (folder)
		(void)closedir(folder);
	return n > 2 ? n - 2 : 0;
}

static void look_at(pid_t pid, unsigned depth, struct server_use *use)
{
	char path[64], line[512];
	unsigned long long user, system;
	long long pages;
	char *at;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (f == NULL)
		return;
	at = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	(void)fclose(f); /* read only */
	/* proc(5): behind the name comes field 3; 14 and 15 are ticks, 24 pages. */
	if (at == NULL || /* NOLINTNEXTLINE(cert-err34-c): the kernel wrote it */
		sscanf(at + 1,
			" %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d "
			"%*d %*d %*u %*u %lld",
			&user, &system, &pages) != 3)
		return;
	use->processes++;
	use->cpu_ns += (user + system) * (1000000000ull / (unsigned long long)sysconf(_SC_CLK_TCK));
	use->memory_bytes += (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	use->descriptors += entries(path);
	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	f = depth ? fopen(path, "re") : NULL;
	if (f == NULL)
		return;
	if (fgets(line, sizeof(line), f)) {
		char *rest = NULL;

		for (char *one = strtok_r(line, " \n", &rest); one;
			one = strtok_r(NULL, " \n", &rest))
			look_at((pid_t)strtol(one, NULL, 10), depth - 1, use);
	}
	(void)fclose(f);
}

struct server_use server_look(const struct server *s)
{
	struct server_use use = {0};
	char drop[4096];

	if (s->log >= 0)
		while (read(s->log, drop, sizeof(drop)) > 0)
			continue; /* or it would wait for us, and lose lines */
	if (s->watched)
		look_at(s->watched, 2, &use);
	return use;
}

int server_stop(struct server *s, struct verdict *verdict)
{
	uint64_t until_ns = progress_now_ns() + STOP_NS;
	int status = 0, err = 0;
	pid_t ended = 0;

	if (s->pid) {
		(void)kill(s->pid, SIGTERM);
		while ((ended = waitpid(s->pid, &status, WNOHANG)) == 0 &&
			progress_now_ns() < until_ns) {
			const struct timespec ms = {0, 1000000};

			(void)server_look(s); /* its last words must not hold it up */
			(void)nanosleep(&ms, NULL);
		}
		if (ended == 0) {
			(void)kill(s->pid, SIGKILL);
			(void)waitpid(s->pid, &status, 0);
			err = verdict_give(verdict, VERDICT_LOST,
				"the server did not end within %g s", (double)STOP_NS / 1e9);
		} else if (!WIFEXITED(status) || WEXITSTATUS(status)) {
			err = verdict_give(verdict, VERDICT_LOST, "the server ended with %s %d",
				WIFEXITED(status) ? "status" : "signal",
				WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
		}
	}
	if (s->log >= 0)
		(void)close(s->log);
	if (s->folder[0]) {
		(void)unlink(s->socket); /* gone by itself, unless it was killed */
		if (rmdir(s->folder) && !err)
			err = verdict_give(verdict, VERDICT_LOST, "something is left in %s: %s",
				s->folder, strerror(errno));
	}
	*s = (struct server){.log = -1};
	return err;
}

void server_version(const struct server *s, char *line, size_t bytes)
{
	int pipes[2];
	pid_t pid;
	ssize_t got;

	line[0] = '\0';
	if (s->program[0] == '\0' || pipe2(pipes, O_CLOEXEC))
		return;
	pid = fork();
	if (pid == 0) {
		(void)dup2(pipes[1], STDOUT_FILENO);
		execlp(s->program, s->program, "--version", (char *)NULL);
		_exit(127);
	}
	(void)close(pipes[1]);
	got = pid > 0 ? read(pipes[0], line, bytes - 1) : 0;
	line[got > 0 ? got : 0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	(void)close(pipes[0]);
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
}
