/* SPDX-License-Identifier: MIT */
/*
 * test_sweep.c - what a dead broker left open is told apart: named, a client, or nobody's.
 */
#include "unit.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ledger.h"
#include "refusal.h"
#include "sweep.h"

#define IDS 8u
#define END 256u
#define MAX 4u

static const struct state_wish wish = {
	.memory_bytes = 4096,
	.ids_max = IDS,
	.first_id = 1,
	.peers = IDS - 2,
	.server_id = STATE_NOBODY,
	.vectors = 1,
	.workers = 1,
};

static struct state state;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_bytes;

static void set_up(void)
{
	uint64_t bytes = state_bytes(&wish);
	void *memory = aligned_alloc(4096, bytes);
	int sock;

	memset(memory, 0, bytes);
	state_memory_init(&state, memory, &wish);
	sweep_inherited(state.live->inherited, END);
	sock = socket(AF_UNIX, SOCK_STREAM, 0);
	address_bytes =
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			    (size_t)snprintf(address.sun_path + 1, 64, "famez-sweep-%d", getpid()));
	assert_int_equal(bind(sock, (struct sockaddr *)&address, address_bytes), 0);
	assert_int_equal(listen(sock, 16), 0);
	state.live->listen_fd = sock;
}

/* A client's end is put out of the sweep's reach. */
static int connect_one(int *client)
{
	int low = socket(AF_UNIX, SOCK_STREAM, 0), sock;

	assert_int_equal(connect(low, (struct sockaddr *)&address, address_bytes), 0);
	*client = fcntl(low, F_DUPFD, (int)END);
	assert_true(*client >= (int)END);
	close(low);
	sock = accept4(state.live->listen_fd, NULL, NULL, SOCK_NONBLOCK);
	assert_true(sock >= 0 && sock < (int)END);
	return sock;
}

static void take(uint32_t id, int sock, uint64_t cookie)
{
	static const struct client who = {.pid = 1, .exe = "x"};
	const struct ledger_newcomer newcomer = {.client = &who, .sock = sock, .cookie = cookie};

	ledger_take(&state, id, &newcomer);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void what_the_state_names_stays_open(void **unused)
{
	struct sweep_found found[MAX];
	int client, sock, bell;

	(void)unused;
	set_up();
	sock = connect_one(&client);
	take(3, sock, sweep_socket_cookie(sock));
	bell = state.bells[3] = eventfd(0, 0);
	state.live->log_fd = eventfd(0, 0);
	assert_int_equal(sweep(&state, END, found, MAX), 0);
	assert_true(is_open(sock) && is_open(bell) && is_open(state.live->listen_fd));
	assert_true(is_open(state.live->log_fd));
	assert_int_equal(ledger_sock(&state, 3), sock);
	assert_int_equal(state.bells[3], bell);
	for (unsigned i = 0; i < STATE_INHERITED_MAX; i++)
		assert_true(state.live->inherited[i] < 0 || is_open(state.live->inherited[i]));
}

static void what_nobody_names_is_closed(void **unused)
{
	struct sweep_found found[MAX];
	int stray[4];

	(void)unused;
	set_up();
	stray[0] = eventfd(0, 0);
	stray[1] = open("/dev/null", O_RDONLY);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, stray + 2), 0);
	assert_int_equal(sweep(&state, END, found, MAX), 0);
	for (unsigned i = 0; i < UNIT_COUNT(stray); i++)
		assert_false(is_open(stray[i]));
}

/* Where none is open beyond the end, the number of all of them tells that one is missing. */
static void a_doorbell_that_is_no_more_is_forgotten(void **unused)
{
	struct sweep_found found[MAX];
	int stray;

	(void)unused;
	set_up();
	for (int round = 0; round < 3; round++) {
		state.bells[1] = eventfd(0, 0);
		state.bells[2] = round == 1 ? 200 : eventfd(0, 0);
		stray = round == 2 ? eventfd(0, 0) : -1;
		assert_int_equal(sweep(&state, END, found, MAX), 0);
		assert_true(is_open(state.bells[1]));
		assert_int_equal(state.bells[2] < 0, round == 1);
		assert_false(stray >= 0 && is_open(stray));
	}
}

static void a_client_that_was_just_accepted_is_found(void **unused)
{
	struct sweep_found found[MAX];
	int clients[2], socks[2];

	(void)unused;
	set_up();
	for (unsigned i = 0; i < UNIT_COUNT(socks); i++)
		socks[i] = connect_one(&clients[i]);
	refusal_tag(socks[1]);
	assert_int_equal(sweep(&state, END, found, MAX), 2);
	for (unsigned i = 0; i < UNIT_COUNT(socks); i++) {
		assert_int_equal(found[i].sock, socks[i]);
		assert_int_equal(found[i].refused, i == 1);
	}
}

static void come_by_a_socket_of_its_own(bool still_there, uint32_t expected)
{
	struct sockaddr_un own = {.sun_family = AF_UNIX};
	struct sweep_found found[MAX];
	int gate, client, sock, other;

	set_up();
	(void)snprintf(own.sun_path, sizeof(own.sun_path), "/tmp/famez-sweep-%d", getpid());
	gate = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(gate, (struct sockaddr *)&own, sizeof(own)), 0);
	assert_int_equal(listen(gate, 16), 0);
	if (still_there) {
		state.rules->gates.end = 1;
		state.rules->gates.gate[0].fd = gate;
		state.rules->gates.gate[0].id = 5;
	}
	client = fcntl(socket(AF_UNIX, SOCK_STREAM, 0), F_DUPFD, (int)END);
	assert_int_equal(connect(client, (struct sockaddr *)&own, sizeof(own)), 0);
	sock = accept4(gate, NULL, NULL, SOCK_NONBLOCK);
	(void)connect_one(&other);
	assert_int_equal(sweep(&state, END, found, MAX), 2);
	assert_int_equal(is_open(gate), still_there);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(found[i].own, found[i].sock == sock ? expected : GATES_NOBODY);
	assert_int_equal(unlink(own.sun_path), 0);
}

static void who_came_by_an_ids_own_socket_is_known_as_such(void **unused)
{
	(void)unused;
	come_by_a_socket_of_its_own(true, 5);
}

/* It must be told that it is refused: a QEMU waits for ever for an answer that never comes. */
static void who_came_by_a_socket_that_was_taken_away_is_found_too(void **unused)
{
	(void)unused;
	come_by_a_socket_of_its_own(false, GATES_GONE);
}

/* Else its path would be taken for a living server's. */
static void a_socket_that_was_bound_and_not_written_down_is_closed(void **unused)
{
	struct sockaddr_un own = {.sun_family = AF_UNIX};
	struct sweep_found found[MAX];
	int bound;

	(void)unused;
	set_up();
	(void)snprintf(own.sun_path, sizeof(own.sun_path), "/tmp/famez-sweep-%d", getpid());
	bound = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(bound, (struct sockaddr *)&own, sizeof(own)), 0);
	assert_int_equal(sweep(&state, END, found, MAX), 0);
	assert_false(is_open(bound));
	assert_int_equal(unlink(own.sun_path), 0);
}

static void where_it_cant_look_it_says_so_and_touches_nothing(void **unused)
{
	struct rlimit limit;
	struct sweep_found found[MAX];
	int client, sock, stray;

	(void)unused;
	set_up();
	sock = connect_one(&client);
	stray = eventfd(0, 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	/* More than poll(2) takes. */
	assert_int_equal(sweep(&state, (unsigned)limit.rlim_cur + 1, found, MAX), -EINVAL);
	assert_true(is_open(sock) && is_open(stray) && is_open(state.live->listen_fd));
	assert_int_equal(sweep(&state, END, found, MAX), 1);
	assert_int_equal(found[0].sock, sock);
	assert_false(is_open(stray));
}

static void a_client_that_has_left_is_closed(void **unused)
{
	struct sweep_found found[MAX];
	int client, sock;

	(void)unused;
	set_up();
	sock = connect_one(&client);
	close(client);
	assert_int_equal(sweep(&state, END, found, MAX), 0);
	assert_false(is_open(sock));
}

static void more_than_there_is_room_for_are_refused(void **unused)
{
	struct sweep_found found[MAX];
	int clients[MAX + 2];
	int64_t word = 0;
	unsigned refused = 0;

	(void)unused;
	set_up();
	for (unsigned i = 0; i < UNIT_COUNT(clients); i++)
		(void)connect_one(&clients[i]);
	assert_int_equal(sweep(&state, END, found, MAX), MAX);
	for (unsigned i = 0; i < UNIT_COUNT(clients); i++)
		if (recv(clients[i], &word, sizeof(word), MSG_DONTWAIT) == sizeof(word)) {
			assert_int_equal(word, -1);
			refused++;
		}
	assert_int_equal(refused, 2);
}

static void a_number_that_is_another_socket_now_is_nobodys(void **unused)
{
	struct sweep_found found[MAX];
	int client, sock;

	(void)unused;
	set_up();
	sock = connect_one(&client);
	take(2, sock, sweep_socket_cookie(sock) + 1000);
	take(4, 200, 17);     /* not even open */
	state.bells[4] = 201; /* two, since the client's end makes up for one */
	state.bells[5] = 202;
	assert_int_equal(sweep(&state, END, found, MAX), 1);
	assert_int_equal(found[0].sock, sock);
	assert_int_equal(ledger_sock(&state, 2), -1);
	assert_int_equal(ledger_sock(&state, 4), -1);
	assert_int_equal(state.bells[4], -1);
	assert_int_equal(state.bells[5], -1);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_state_names_stays_open),
		cmocka_unit_test(what_nobody_names_is_closed),
		cmocka_unit_test(a_doorbell_that_is_no_more_is_forgotten),
		cmocka_unit_test(a_client_that_was_just_accepted_is_found),
		cmocka_unit_test(who_came_by_an_ids_own_socket_is_known_as_such),
		cmocka_unit_test(who_came_by_a_socket_that_was_taken_away_is_found_too),
		cmocka_unit_test(a_socket_that_was_bound_and_not_written_down_is_closed),
		cmocka_unit_test(where_it_cant_look_it_says_so_and_touches_nothing),
		cmocka_unit_test(a_client_that_has_left_is_closed),
		cmocka_unit_test(more_than_there_is_room_for_are_refused),
		cmocka_unit_test(a_number_that_is_another_socket_now_is_nobodys),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
