/* SPDX-License-Identifier: MIT */
/*
 * death.pml - the server dies at any step, and a successor goes on from the state memory.
 *
 * One peer asks, the server answers each question: it is the receiver of one lane and the sender
 * of the other. It is killed DEATHS times, between any two steps, also while it takes over. What
 * lasts is the file and the state memory (state_mail.h); what a process knows is gone. With -DROOM
 * the lane of questions has room for one, so the peer waits for room, too.
 *
 * Stores of the server that are not ordered stay in a buffer, which `memory` empties, as in
 * wakeup.pml. With a process that dies they come into memory before its successor begins.
 *
 * Judged where nothing moves any more: all was asked and answered. A question that is lost, or an
 * answer that comes twice or not in order, is an assertion. README.md has steps and code.
 */
#define MESSAGES 2
#ifdef ROOM
#define LANE 1
#else
#define LANE 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

/* The file. Positions count messages; questions and answers have the numbers 1, 2, ... */
byte question[LANE];
byte asked;           /* questions that are visible */
byte consumed;
bool waiting;
bool marked;          /* the bit in the server's inbox */
bool asleep;          /* the server; a peer rings once for each number of a sleep */
byte answer[MESSAGES + 1]; /* nothing may come behind the last */
byte answered;        /* answers that are visible */
byte got;             /* answers that the peer has read, and says so */
bool peer_asleep;
/* The kernel's */
bool bell, peer_bell; /* the server's, the peer's */

/* The state memory. */
byte st_rx, st_tx;    /* how far it is heard, how far answered */
bool slot;            /* filled: what follows counts once the answer can be read */
byte slot_rx, slot_tx;
bool owed;

/* Stored, and not in memory yet: R5 and V1. */
bool late_awake;
byte late_consumed;

/* Private to the one, but forgotten with a sleep of the other: it has rung for that one's number. */
bool peer_rang, server_rang;

bool dead;
byte deaths;
bool done;

inline drain()
{
	if
	:: late_consumed > consumed -> consumed = late_consumed
	:: else
	fi;
	if
	:: late_awake -> asleep = false; late_awake = false
	:: else
	fi
}

active proctype memory()
{
end:	do
	:: atomic { late_consumed > consumed -> consumed = late_consumed }
	:: atomic { late_awake -> asleep = false; late_awake = false }
	od
}

active proctype killer()
{
	do
	:: deaths < DEATHS ->
		atomic { deaths++; dead = true };
		!dead
	:: break
	od
}

/* ---- the server -------------------------------------------------------------------------- */

/* V1 to V3: what was taken, and written down, is given back. */
inline give_back()
{
	d_step { late_consumed = rx; drain() };
	if
	:: waiting ->
#ifndef WEAK_OWED
		owed = true;
#endif
		waiting = false;
		peer_bell = true; /* the ring */
		owed = false
	:: else
	fi
}

/* C1, C2 */
inline let_go()
{
	d_step { drain(); marked = false };
	if
	:: asked > rx
	:: else -> in_hand = false
	fi
}

/* S4, S5: of the answer. */
inline nudge()
{
	d_step { drain(); seen = peer_asleep };
	if
	:: seen && !server_rang ->
		server_rang = true;
		peer_bell = true
	:: else
	fi;
	seen = false
}

/* Takes the next, or two; answers; and writes down that it has. */
inline take()
{
	d_step {
		fresh = 0;
		assert(question[rx % LANE] == rx + 1);
		answer[tx] = rx + 1;
		rx++;
		fresh++
	};
	if
	:: d_step {
		asked > rx && tx + fresh < MESSAGES ->
		assert(question[rx % LANE] == rx + 1);
		answer[tx + fresh] = rx + 1;
		rx++;
		fresh++
	   }
	:: true
	fi;
#ifdef WEAK_GIVE
	give_back();
#endif
#ifdef WEAK_FILL
	slot = true;
	slot_rx = rx;
	slot_tx = tx + fresh;
#else
	slot_rx = rx;
	slot_tx = tx + fresh;
	slot = true;
#endif
#ifdef WEAK_EARLY
	st_rx = slot_rx;
#endif
	d_step { drain(); answered = tx + fresh }; /* S1: seq_cst */
#ifdef WEAK_EMPTY
	slot = false;
#endif
	st_rx = slot_rx;
	st_tx = slot_tx;
	slot = false;
	d_step { tx = tx + fresh; fresh = 0 };
	nudge();
	if
	:: give_back()
	:: true
	fi
}

/* R3: the careful look at the lane, and at the bitmap. */
inline look()
{
	if
	:: in_hand ->
		give_back();
		if
		:: asked > rx -> more = true
		:: else ->
			if
			:: let_go(); more = in_hand
			:: true
			fi
		fi
	:: else
	fi;
	d_step {
		if
		:: marked && !in_hand -> in_hand = true; more = true
		:: else
		fi
	}
}

inline sleep()
{
	/* R1, under a number that nobody has rung for, as the state says which were used. */
	if
	:: d_step { drain(); asleep = true; peer_rang = false }
#ifdef WEAK_SLEEP
	:: d_step { deaths > 0 -> drain(); asleep = true }
#endif
	fi;
	look();
	if
	:: more
	:: else ->
end_R4:		bell
	fi;
	late_awake = true; /* R5: relaxed */
	if
	:: more -> more = false
	:: else -> bell = false
	fi
}

/* mail_resume.c */
inline resume()
{
	d_step {
		drain();
		rx = 0;
		tx = 0;
		fresh = 0;
		server_rang = false;
		seen = false;
		more = false;
		in_hand = false
	};
	late_awake = true;
	if
	:: slot ->
#if defined(WEAK_REDO)
		slot = false
#elif defined(WEAK_APPLY)
		st_rx = slot_rx;
		st_tx = slot_tx;
		slot = false
#else
		if
		:: answered > st_tx || (answered == slot_tx && st_tx == slot_tx) ->
			st_rx = slot_rx;
			st_tx = slot_tx
		:: else
		fi;
		slot = false
#endif
	:: else
	fi;
	d_step { rx = st_rx; tx = st_tx };
#ifdef WEAK_HAND
	in_hand = marked;
#else
	in_hand = true;
#endif
#ifndef WEAK_WAKE
	if
	:: answered > got -> nudge()
	:: else
	fi;
#endif
	if
	:: owed -> peer_bell = true; owed = false
	:: else
	fi
}

active proctype server()
{
	byte rx, tx, fresh;
	bool in_hand, more, seen;

	late_consumed = 0;
again:	{
		resume();
		do
		:: in_hand && asked > rx -> take()
		:: in_hand && asked == rx -> give_back(); let_go()
		:: !in_hand && marked -> in_hand = true
		:: !(in_hand && asked > rx) -> sleep()
		od
	} unless {
		d_step { dead -> drain(); dead = false }
	};
	goto again
}

/* ---- the peer ---------------------------------------------------------------------------- */

inline ask()
{
	d_step {
		question[sent % LANE] = sent + 1;
		sent++;
		asked = sent /* S1 */
	};
	/* S3 */
	if
	:: marked
	:: else -> marked = true
	fi;
	/* S4 */
	early = asleep;
	if
	:: early && !peer_rang ->
		peer_rang = true;
		bell = true
	:: else
	fi;
	early = false
}

active proctype peer()
{
	byte sent;
	bool ready, early;

	do
	:: sent == MESSAGES && got == MESSAGES -> break
	:: sent < MESSAGES && sent - consumed < LANE -> ask()
	:: answered > got ->
		d_step {
			assert(answered <= MESSAGES);
			assert(answer[got] == got + 1);
			got++
		}
	:: answered == got && got < MESSAGES && (sent == MESSAGES || sent - consumed == LANE) ->
		d_step { peer_asleep = true; server_rang = false };
		ready = answered > got;
		if
		:: !ready && sent < MESSAGES ->
			waiting = true;                 /* W1 */
			ready = sent - consumed < LANE  /* W2 */
		:: else
		fi;
		if
		:: ready
		:: else ->
end_sleep:		peer_bell
		fi;
		d_step { peer_asleep = false; peer_bell = false; ready = false }
	od;
	done = true
}

active proctype judge()
{
	timeout;
	assert(done && answered == MESSAGES)
}
