/* SPDX-License-Identifier: MIT */
/*
 * crowd.c - many raw ivshmem clients in one process, and an exact account.
 *
 * Knows the protocol's client side and nothing of what is measured with it.
 */
#include "crowd.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "wire.h"

#define EVENTS 256

/* Messages read from one socket before the next has its turn. */
#define READS 64

enum step {
	STEP_VERSION,
	STEP_ID,
	STEP_MEMORY,
	STEP_LIVE,
};

int crowd_init(struct crowd *c, const char *socket, uint32_t clients_max, uint32_t vectors,
	uint32_t ids_max, uint64_t patience_ns)
{
	int err;

	*c = (struct crowd){
		.socket = socket,
		.clients_max = clients_max,
		.vectors = vectors,
		.ids_max = ids_max,
		.patience_ns = patience_ns,
	};
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (c->epoll < 0)
		return -errno;
	err = -ENOMEM;
	c->clients = calloc(clients_max, sizeof(*c->clients));
	if (!c->clients)
		goto undo_epoll;
	c->told = calloc((size_t)clients_max * ids_max, sizeof(*c->told));
	if (!c->told)
		goto undo_clients;
	for (uint32_t i = 0; i < clients_max; i++) {
		c->clients[i].sock = -1;
		c->clients[i].told = &c->told[(size_t)i * ids_max];
	}
	return 0;

undo_clients:
	free(c->clients);
undo_epoll:
	(void)close(c->epoll);
	return err;
}

void crowd_destroy(struct crowd *c)
{
	for (uint32_t i = 0; i < c->clients_max; i++) {
		crowd_leave(c, i);
		for (size_t n = 0; c->clients[i].kept && n < (size_t)c->ids_max * c->vectors; n++)
			if (c->clients[i].kept[n] >= 0)
				(void)close(c->clients[i].kept[n]);
		free(c->clients[i].kept);
	}
	free(c->told);
	free(c->clients);
	(void)close(c->epoll);
}

int crowd_keep(struct crowd *c, uint32_t nth)
{
	size_t count = (size_t)c->ids_max * c->vectors;
	int *kept = malloc(count * sizeof(*kept));

	if (!kept)
		return -ENOMEM;
	for (size_t n = 0; n < count; n++)
		kept[n] = -1;
	c->clients[nth].kept = kept;
	return 0;
}

static void count_notice(struct crowd *c, struct crowd_client *client, struct wire_message *m)
{
	uint16_t vector = client->told[m->value]++;

	c->notices++;
	if (client->kept && vector < c->vectors) {
		int *kept = &client->kept[(size_t)m->value * c->vectors + vector];

		if (*kept >= 0)
			(void)close(*kept); /* of who had that ID before */
		*kept = m->fd;
		m->fd = -1;
	}
	if (++client->notices == client->goal) {
		client->goal_ns = clock_wall_ns();
		c->waiting--;
	}
}

/* Takes over the message's descriptor. */
static int take(struct crowd *c, struct crowd_client *client, struct wire_message *m)
{
	bool in_range = m->value >= 0 && m->value < c->ids_max, good = true;

	c->messages++;
	switch ((enum step)client->step) {
	case STEP_VERSION:
		good = m->value == FAMEZ_WIRE_VERSION;
		client->step = STEP_ID;
		break;
	case STEP_ID:
		good = in_range;
		client->id = (int32_t)m->value;
		client->step = STEP_MEMORY;
		break;
	case STEP_MEMORY:
		good = m->value == FAMEZ_WIRE_MEMORY && m->fd >= 0;
		client->step = STEP_LIVE;
		break;
	case STEP_LIVE:
		good = in_range;
		if (good && m->fd >= 0) {
			count_notice(c, client, m);
		} else if (good) {
			c->leaves++;
			client->told[m->value] = 0;
		}
	}
	if (m->fd >= 0)
		(void)close(m->fd);
	return good ? 0 : -EPROTO;
}

static int read_some(struct crowd *c, struct crowd_client *client)
{
	struct wire_message m;
	int err = 0;

	for (int i = 0; i < READS && !err; i++) {
		int res = wire_read(client->sock, &m);

		if (res == -EAGAIN)
			return 0;
		if (res <= 0)
			return res == 0 ? -ECONNRESET : res;
		err = take(c, client, &m);
	}
	return err;
}

static int turn(struct crowd *c, int timeout_ms)
{
	struct epoll_event events[EVENTS];
	int count = epoll_wait(c->epoll, events, EVENTS, timeout_ms), err = 0;

	if (count < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < count && !err; i++)
		err = read_some(c, events[i].data.ptr);
	return err;
}

static int connect_to(struct crowd *c, int sock)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	uint64_t begun_ns = clock_wall_ns();
	int err;

	(void)strncpy(address.sun_path, c->socket, sizeof(address.sun_path) - 1);
	while (connect(sock, (struct sockaddr *)&address, sizeof(address)) != 0) {
		if (errno != EAGAIN)
			return -errno;
		if (clock_wall_ns() - begun_ns > c->patience_ns)
			return -ETIMEDOUT;
		err = turn(c, 1);
		if (err)
			return err;
	}
	return 0;
}

int crowd_join(struct crowd *c, uint32_t nth, uint64_t notices)
{
	struct crowd_client *client = &c->clients[nth];
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	if (sock < 0)
		return -errno;
	err = connect_to(c, sock);
	if (err)
		goto undo_sock;
	memset(client->told, 0, c->ids_max * sizeof(*client->told));
	client->sock = sock;
	client->step = STEP_VERSION;
	client->notices = 0;
	client->goal = 0;
	crowd_expect(c, nth, notices);
	if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, sock, &event) == 0)
		return 0;
	err = -errno;
	client->sock = -1;
undo_sock:
	(void)close(sock);
	return err;
}

void crowd_leave(struct crowd *c, uint32_t nth)
{
	if (c->clients[nth].sock >= 0)
		(void)close(c->clients[nth].sock);
	c->clients[nth].sock = -1;
}

void crowd_deafen(struct crowd *c, uint32_t nth)
{
	(void)epoll_ctl(c->epoll, EPOLL_CTL_DEL, c->clients[nth].sock, NULL);
}

void crowd_expect(struct crowd *c, uint32_t nth, uint64_t notices)
{
	struct crowd_client *client = &c->clients[nth];

	if (!notices)
		return;
	client->goal = client->notices + notices;
	client->goal_ns = 0;
	c->waiting++;
}

int crowd_wait(struct crowd *c, uint64_t leaves)
{
	uint64_t seen = c->messages, seen_ns = clock_wall_ns();

	while (c->waiting || c->leaves < leaves) {
		int err = turn(c, 100);

		if (err)
			return err;
		if (c->messages != seen) {
			seen = c->messages;
			seen_ns = clock_wall_ns();
		} else if (clock_wall_ns() - seen_ns > c->patience_ns) {
			return -ETIMEDOUT;
		}
	}
	return 0;
}

int crowd_drain(struct crowd *c, int quiet_ms)
{
	uint64_t seen;
	int err;

	do {
		seen = c->messages;
		err = turn(c, quiet_ms);
	} while (!err && c->messages != seen);
	return err;
}

struct crowd_account crowd_check(const struct crowd *c, uint32_t from, uint32_t to)
{
	struct crowd_account account = {0};

	for (uint32_t i = from; i < to; i++) {
		const struct crowd_client *client = &c->clients[i];
		uint64_t right = 0, missing = 0;

		for (uint32_t j = 0; j < to; j++) {
			/* Someone whose opening was never answered is missing whole. */
			bool known = c->clients[j].step > STEP_ID;
			uint32_t told = known ? client->told[c->clients[j].id] : 0;

			if (told > c->vectors)
				told = c->vectors;
			right += told;
			missing += c->vectors - told;
		}
		account.missing += missing;
		account.short_of += missing > 0;
		account.surplus += client->notices - right;
	}
	return account;
}
