/* SPDX-License-Identifier: MIT */
/*
 * actor.c - QEMUs and plain clients: what they make of what they are sent, and the judgement.
 *
 * A client sees words and descriptors, never the broker's structs. What kills a QEMU is wrong
 * here: a leave, an ID told twice, one descriptor more than its process may hold, a socket that
 * is closed on it. What the clients have made of it all is compared with who is there, which
 * they know of each other and of nobody else.
 */
#include "sim.h"

#include <assert.h>
#include <string.h>

struct actor actors[SIM_CLIENTS_MAX];

static uint64_t serials;
static uint64_t owner_of[SIM_IDS_MAX];         /* serial of who was last sent it as its own */
static bool opened[SIM_IDS_MAX];               /* some owner of it was sent its whole opening */
static unsigned vectors_sent[SIM_CLIENTS_MAX]; /* of its own, into its socket */
static uint32_t id_sent[SIM_CLIENTS_MAX];
static unsigned sent[SIM_CLIENTS_MAX];   /* messages */
static unsigned ghosts[SIM_IDS_MAX + 1]; /* who hung up before anybody accepted, by gate */
static struct actor ghost;

static unsigned number_of(const struct actor *c)
{
	return (unsigned)(c - actors);
}

struct actor *actor_by_pid(int pid)
{
	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++)
		if (actors[n].used && actors[n].pid == pid)
			return &actors[n];
	return NULL;
}

unsigned actors_of(unsigned uid)
{
	unsigned count = 0;

	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++)
		count += actors[n].used && actors[n].uid == uid;
	return count;
}

bool actor_has(uint32_t id)
{
	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++)
		if (actors[n].used && id_sent[n] == id)
			return true;
	return false;
}

struct actor *actor_come(bool device, uint32_t limit, unsigned uid, uint32_t gate)
{
	unsigned n = 0;

	while (n < SIM_CLIENTS_MAX && actors[n].used)
		n++;
	if (n == SIM_CLIENTS_MAX)
		return NULL;
	serials++;
	actors[n] = (struct actor){
		.used = true,
		.serial = serials,
		.pid = (int)(1000 + serials),
		.uid = uid,
		.gate = gate,
		.device = device,
		.limit = limit,
		.unfinished = SIM_IDS_MAX,
		.id = SIM_IDS_MAX,
	};
	sent[n] = 0;
	vectors_sent[n] = 0;
	id_sent[n] = SIM_IDS_MAX;
	sums.clients++;
	sim_trace("client %d: a %s of user %u connects to %u", actors[n].pid,
		device ? "QEMU" : "plain client", uid, gate);
	return &actors[n];
}

struct actor *actor_next_waiting(const struct file *listener)
{
	uint32_t gate = life_gate(listener->text);
	struct actor *first = NULL;

	if (ghosts[gate]) {
		ghost.gate = gate;
		return &ghost;
	}
	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++) {
		struct actor *c = &actors[n];

		if (c->used && c->phase == PHASE_WAITS && c->gate == gate &&
			(!first || c->serial < first->serial))
			first = c;
	}
	return first;
}

bool actor_accepted(struct actor *c, struct file *socket)
{
	if (c == &ghost) {
		ghosts[c->gate]--;
		return false;
	}
	c->socket = socket;
	c->accepted_ns = world.now_ns;
	c->phase = PHASE_VERSION;
	return true;
}

static void drop_bells(struct actor *c, uint32_t id)
{
	for (unsigned v = 0; v < c->known[id]; v++) {
		file_drop(c->bells[id][v]);
		c->held--;
	}
	c->known[id] = 0;
}

void actor_die(struct actor *c)
{
	sim_trace("client %d closes", c->pid);
	voice_end(c);
	for (; c->count; c->count--, c->head++)
		if (c->words[c->head % SIM_SOCKET_WORDS].file)
			file_drop(c->words[c->head % SIM_SOCKET_WORDS].file);
	for (uint32_t id = 0; id < SIM_IDS_MAX; id++)
		drop_bells(c, id);
	if (c->memory)
		file_drop(c->memory);
	if (c->socket)
		c->socket->actor = NULL;
	else if (c->phase == PHASE_WAITS)
		ghosts[c->gate]++;
	c->used = false;
}

void actor_hung_up(struct actor *c)
{
	c->hung_up = true;
	voice_end(c);
}

/* ---- what the broker puts into its socket -------------------------------------------------- */

/* Who was let in lately, and when each had been accepted, which is before that. */
static struct {
	unsigned uid;
	uint64_t accepted_ns;
} let_in[64];
static unsigned let_in_count;

/* So many of one user in any time at all: a second's worth, and what that time is worth. */
static void check_rate(const struct actor *c)
{
	unsigned at = let_in_count++ % 64, first = let_in_count > 64 ? let_in_count - 64 : 0;

	let_in[at].uid = c->uid;
	let_in[at].accepted_ns = c->accepted_ns;
	for (unsigned from = first; world.rate && from < let_in_count; from++) {
		uint64_t since = let_in[from % 64].accepted_ns, most;
		unsigned count = 0;

		if (let_in[from % 64].uid != c->uid)
			continue;
		for (unsigned n = first; n < let_in_count; n++)
			count +=
				let_in[n % 64].uid == c->uid && let_in[n % 64].accepted_ns >= since;
		most = (world.now_ns - since) * world.rate / 1000000000u + world.rate + 1;
		if (count > most)
			sim_wrong("user %u joins %u times in %llu us, and may %u times a second",
				c->uid, count, (unsigned long long)((world.now_ns - since) / 1000),
				world.rate);
	}
}

/* It was given this ID: may it have it, and is it not one too many of its user? */
static void check_seat(const struct actor *c, uint32_t id)
{
	unsigned same = 0;

	if (c->gate < SIM_IDS_MAX && id != c->gate)
		sim_wrong("client %d comes by the socket of ID %u, and gets ID %u", c->pid, c->gate,
			id);
	if (world.gated && c->gate != world.bound_id && id == world.bound_id)
		sim_wrong("client %d gets ID %u, and comes by another socket", c->pid, id);
	if (world.bound && !world.gated && (c->uid == SIM_BOUND_UID) != (id == world.bound_id))
		sim_wrong("client %d of user %u gets ID %u, and %u is kept for user %u", c->pid,
			c->uid, id, world.bound_id, SIM_BOUND_UID);
	for (unsigned o = 0; o < SIM_CLIENTS_MAX; o++)
		same += actors[o].used && actors[o].uid == c->uid && id_sent[o] != SIM_IDS_MAX &&
			!actors[o].hung_up;
	if (world.quota && same > world.quota)
		sim_wrong("user %u has %u peers, and may have %u", c->uid, same, world.quota);
}

void actor_sent(struct actor *c, int64_t value, struct file *file)
{
	unsigned n = number_of(c);
	bool opening = sent[n] < 3;

	/* FAME-Z's clients read 8 bytes at a time, and a leave has no descriptor that parts it
	 * from what follows. */
	if (c->leave_unread && c->count)
		sim_wrong("client %d is sent %lld behind a leave that it has not read", c->pid,
			(long long)value);
	c->leave_unread = !opening && !file && value >= 0;
	if (sent[n] == 1 && value >= 0 && value < SIM_IDS_MAX) {
		id_sent[n] = (uint32_t)value;
		owner_of[value] = c->serial;
		for (unsigned o = 0; o < SIM_CLIENTS_MAX; o++)
			if (o != n && actors[o].used && id_sent[o] == value && !actors[o].hung_up)
				sim_wrong("clients %d and %d both get ID %u", actors[o].pid, c->pid,
					id_sent[n]);
		check_seat(c, id_sent[n]);
		check_rate(c);
	}
	if (!opening && file && value == id_sent[n] && ++vectors_sent[n] == world.vectors &&
		value < SIM_IDS_MAX)
		opened[value] = true;
	sent[n]++;
	assert(c->count < SIM_SOCKET_WORDS);
	c->words[(c->head + c->count++) % SIM_SOCKET_WORDS] =
		(struct word){.value = value, .file = file};
}

/* ---- what it makes of it --------------------------------------------------------------------- */

static void take_id(struct actor *c, int64_t value)
{
	if (value < world.first_id || value >= world.first_id + world.peers_max) {
		sim_wrong("client %d is told that its ID is %lld", c->pid, (long long)value);
		return;
	}
	c->id = (uint32_t)value;
	c->phase = PHASE_MEMORY;
}

static void take_vector(struct actor *c, uint32_t id, struct file *bell)
{
	if (c->unfinished != SIM_IDS_MAX && c->unfinished != id)
		sim_wrong("client %d is told of %u amid the vectors of %u", c->pid, id,
			c->unfinished);
	if (c->known[id] == world.vectors) {
		sim_wrong("%s %d is told of %u a second time", c->device ? "QEMU" : "client",
			c->pid, id);
		return;
	}
	if (bell->kind != FILE_EVENT)
		sim_wrong("client %d gets no eventfd for %u", c->pid, id);
	if (!c->known[id]) {
		if (c->phase == PHASE_OWN)
			sim_wrong("client %d is told of %u amid its own vectors", c->pid, id);
		if (id == c->id && c->phase != PHASE_BACKLOG)
			sim_wrong("client %d is told its own vectors out of turn", c->pid);
		if (id != c->id && id != world.server_id && !opened[id])
			sim_wrong("client %d is told of %u, whose opening is not over", c->pid, id);
		c->owner[id] = owner_of[id];
		sums.announced++;
	}
	if (id == c->id)
		c->phase = PHASE_OWN;
	c->bells[id][c->known[id]++] = bell;
	file_hold(bell);
	c->unfinished = c->known[id] < world.vectors ? id : SIM_IDS_MAX;
	if (id == c->id && c->known[id] == world.vectors) {
		c->phase = PHASE_LIVE;
		sums.joins++;
	}
}

static void take_leave(struct actor *c, uint32_t id)
{
	sums.leaves_told++;
	if (c->device)
		sim_wrong("QEMU %d is told that %u left", c->pid, id);
	if (c->phase != PHASE_LIVE)
		sim_wrong("client %d is told in its opening that %u left", c->pid, id);
	if (c->unfinished != SIM_IDS_MAX)
		sim_wrong("client %d is told that %u left amid vectors", c->pid, id);
	if (!c->known[id])
		sim_wrong("client %d is told that %u left, whom it does not know", c->pid, id);
	if (id == c->id)
		sim_wrong("client %d is told that it left", c->pid);
	drop_bells(c, id);
}

static void take_word(struct actor *c, int64_t value, struct file *file)
{
	if ((c->phase <= PHASE_MEMORY || c->phase == PHASE_REFUSED) && value == -1 && !file) {
		/* After a death it may be told once more, which a real one does not stay for. */
		sums.refused += c->phase != PHASE_REFUSED;
		c->phase = PHASE_REFUSED;
		return;
	}
	switch (c->phase) {
	case PHASE_VERSION:
		if (value != 0 || file)
			sim_wrong("client %d's first message is no version", c->pid);
		c->phase = PHASE_ID;
		return;
	case PHASE_ID:
		if (file)
			sim_wrong("client %d's ID comes with a descriptor", c->pid);
		take_id(c, value);
		return;
	case PHASE_MEMORY:
		if (value != -1 || !file || file->kind != FILE_MEMORY) {
			sim_wrong("client %d's third message is not the memory", c->pid);
			return;
		}
		c->memory = file;
		file_hold(file);
		c->phase = PHASE_BACKLOG;
		return;
	case PHASE_BACKLOG:
	case PHASE_OWN:
	case PHASE_LIVE:
		if (value < 0 || value >= world.ids_max)
			sim_wrong("client %d is told of ID %lld", c->pid, (long long)value);
		else if (file)
			take_vector(c, (uint32_t)value, file);
		else
			take_leave(c, (uint32_t)value);
		return;
	case PHASE_WAITS:
	case PHASE_REFUSED:
		sim_wrong("client %d is sent %lld out of turn", c->pid, (long long)value);
	}
}

bool actor_read(struct actor *c)
{
	struct word w;

	if (!c->count) {
		if (!c->hung_up)
			return false;
		if (c->phase != PHASE_REFUSED && !c->spoke && !world.drops_stalled &&
			!world.stopping)
			sim_wrong("client %d sees the end of its socket", c->pid);
		if (c->phase <= PHASE_MEMORY && c->device && c->phase != PHASE_REFUSED && !c->spoke)
			sim_wrong("QEMU %d is closed in its opening, and spins", c->pid);
		actor_die(c);
		return true;
	}
	w = c->words[c->head++ % SIM_SOCKET_WORDS];
	c->count--;
	if (w.file && c->device && ++c->held + 20 > c->limit)
		sim_wrong(
			"QEMU %d may hold %u descriptors, and dies of one more", c->pid, c->limit);
	else if (w.file && !c->device)
		c->held++;
	sim_trace("client %d reads %lld%s", c->pid, (long long)w.value,
		w.file ? " with a descriptor" : "");
	take_word(c, w.value, w.file);
	if (w.file)
		file_drop(w.file);
	if (c->socket)
		ring_actor_read(c->socket);
	return true;
}

void actor_step(struct actor *c)
{
	uint32_t what = draw(200);

	/* Who has something to say stays for longer. */
	if (what < (c->phase == PHASE_LIVE && world.mail && draw(8) ? 0 : 3)) {
		actor_die(c);
	} else if (what < 8) {
		c->stalled = !c->stalled;
	} else if (what == 8 && (!world.mail || draw(8) == 0) && c->phase != PHASE_WAITS &&
		   !c->spoke) {
		sim_trace("client %d says something", c->pid);
		c->spoke = true;
	} else if (!c->stalled) {
		for (unsigned n = 1 + draw(8); n && c->used && actor_read(c); n--)
			;
	}
}

/* ---- the judgement ------------------------------------------------------------------------------
 */

static const struct actor *present(uint32_t id)
{
	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++)
		if (actors[n].used && actors[n].phase == PHASE_LIVE && actors[n].id == id)
			return &actors[n];
	return NULL;
}

/* May the one know of the other? */
static bool neighbours(const struct actor *a, const struct actor *b)
{
	return !world.zoned || a->uid == b->uid || a->uid == 1002 || b->uid == 1002;
}

static void judge_pair(const struct actor *c, uint32_t id)
{
	const struct actor *owner = present(id);
	bool there = owner ? neighbours(c, owner) : id == world.server_id;

	if (c->known[id] && c->known[id] != world.vectors)
		sim_wrong("client %d has half of %u", c->pid, id);
	/* One that had no room for a peer is told of it at that ID's next join, or never. */
	if (there && !c->known[id] && !(c->device && c->limit < SIM_AMPLE_LIMIT))
		sim_wrong("client %d lacks %u", c->pid, id);
	if (!c->device && !there && c->known[id])
		sim_wrong("client %d still knows %u, which has left or is a stranger", c->pid, id);
	if (!c->device && owner && c->known[id] && c->owner[id] != owner->serial)
		sim_wrong("client %d takes %u for the ID's last owner", c->pid, id);
	if (!c->known[id] || !owner)
		return;
	if (!neighbours(c, owner))
		sim_wrong("client %d can ring %u, a stranger", c->pid, id);
	for (unsigned v = 0; v < world.vectors; v++)
		if (c->bells[id][v] != owner->bells[id][v])
			sim_wrong("client %d rings something else than %u's vector %u", c->pid, id,
				v);
}

void actors_judge(void)
{
	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++) {
		const struct actor *c = &actors[n];

		if (!c->used)
			continue;
		if (c->phase != PHASE_LIVE) {
			sim_wrong("nothing moves, and client %d's opening is not over", c->pid);
			continue;
		}
		if (c->unfinished != SIM_IDS_MAX)
			sim_wrong("nothing moves, and client %d waits for vectors of %u", c->pid,
				c->unfinished);
		for (uint32_t id = 0; id < world.ids_max; id++)
			judge_pair(c, id);
	}
}

void actors_reset(void)
{
	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++)
		if (actors[n].used)
			actor_die(&actors[n]);
	memset(ghosts, 0, sizeof(ghosts));
	serials = 0;
	let_in_count = 0;
	memset(owner_of, 0, sizeof(owner_of));
	memset(opened, 0, sizeof(opened));
}
