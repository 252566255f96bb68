/* SPDX-License-Identifier: MIT */
/*
 * lane.pml - full lanes: W1-W3 and V1-V3 of lane.h, with its rules of the quarter and the half.
 *
 * Two peers, one lane each way, of LANE units. Each sends its messages, of 1 or 3 units drawn at
 * random (half a lane less the zero behind), and reads the other's; one who has no room waits on
 * the same doorbell on which messages are announced. So both directions wait for each other.
 *
 * -DPOLLING: one sender, and a receiver that never sleeps, and takes one careful look when it has
 * read all. Only here does V1 stand alone: one who sleeps passes R1 between it and its last look.
 *
 * Stores that are not ordered wait in a buffer of their owner, which `memory` empties, in order.
 * A load that -DWEAK_V3 makes relaxed may give what an earlier one gave, however much was stored
 * since. Judged where nothing moves any more: then all must have been said and heard.
 */
#define LANE 8
#ifdef POLLING
#define MESSAGES 5
#else
#define MESSAGES 3
#endif

/* Of the lane from i; positions count units. */
byte size[2 * MESSAGES]; /* of message m from i: size[MESSAGES * i + m] */
byte published[2]; /* messages that are visible */
byte consumed[2];  /* the file's word */
bool waiting[2];
byte at[2];        /* where its receiver is; for the assertion and for who reads it */
/* Of peer i. */
bool asleep[2];
bool bell[2];
byte done;

/* What peer i has stored and memory doesn't show yet: `consumed` of the lane to it, `asleep`, and
 * `waiting`, if W1 is weak. Words differ: what matters is that loads overtake them. */
byte late_consumed[2];
bool late_awake[2];
bool late_waits[2];

inline drain(i)
{
	if
	:: late_consumed[i] > consumed[1 - i] -> consumed[1 - i] = late_consumed[i]
	:: else
	fi;
	if
	:: late_awake[i] -> asleep[i] = false; late_awake[i] = false
	:: else
	fi;
	if
	:: late_waits[i] -> waiting[i] = true; late_waits[i] = false
	:: else
	fi
}

active proctype memory()
{
end:	do
	:: atomic { late_consumed[0] > consumed[1] -> consumed[1] = late_consumed[0] }
	:: atomic { late_consumed[1] > consumed[0] -> consumed[0] = late_consumed[1] }
	:: atomic { late_awake[0] -> asleep[0] = false; late_awake[0] = false }
	:: atomic { late_awake[1] -> asleep[1] = false; late_awake[1] = false }
	:: atomic { late_waits[0] -> waiting[0] = true; late_waits[0] = false }
	:: atomic { late_waits[1] -> waiting[1] = true; late_waits[1] = false }
	od
}

/* V1 to V3 of peer i, who reads the lane from 1 - i. */
inline publish(i, looked, seen, early)
{
	atomic {
		late_consumed[i] = at[1 - i];
#ifndef WEAK_V1
		drain(i);
#endif
		looked = at[1 - i]
	};
	atomic {
#ifdef WEAK_V3
		if
		:: early = waiting[1 - i]
		:: skip
		fi;
		seen = early
#else
		seen = waiting[1 - i]
#endif
	};
	if
	:: seen ->
		atomic { drain(i); seen = waiting[1 - i]; waiting[1 - i] = false; early = false };
		if
		:: seen -> atomic { bell[1 - i] = true; seen = false }
		:: else
		fi
	:: else
	fi;
	seen = false
}

/* Takes the next message and applies the rules of famez_rx_release(). */
inline release(i, taken, looked, seen, early)
{
	atomic {
		at[1 - i] = at[1 - i] + size[MESSAGES * (1 - i) + taken];
		size[MESSAGES * (1 - i) + taken] = 0;
		taken++;
		if
		:: at[1 - i] - late_consumed[i] < LANE / 4
		:: else ->
			if
			:: at[1 - i] - looked >= LANE / 2 -> seen = true
			:: else -> late_consumed[i] = at[1 - i] /* a release store */
			fi
		fi
	};
	if
	:: seen -> seen = false; publish(i, looked, seen, early)
	:: else
	fi
}

/* Puts the message of `want` units, if there is room; S1, S4, S5. */
inline put(i, sent, end, want)
{
	atomic {
		end = end + want;
		/* What is written now must not be what the receiver still has to read. */
		assert(end + 1 - at[i] <= LANE);
		drain(i);
		size[MESSAGES * i + sent] = want;
		sent++;
		published[i] = sent;
		want = 0
	};
#ifndef POLLING
	/* S4, S5. The lane's bit is set: it is in hand all the time. That a sleep is rung for once
	 * only is wakeup.pml's matter. */
	if
	:: asleep[1 - i] -> bell[1 - i] = true
	:: else
	fi
#endif
}

/* W1, W2. */
inline wait_for_room(i, limit)
{
#ifdef WEAK_W1
	late_waits[i] = true;
#else
	atomic { drain(i); waiting[i] = true };
#endif
	limit = consumed[i] + LANE
}

/* What is private happens at once, with one look at the file. */
inline look_for_room(i, limit, end, want)
{
	atomic {
		if
		:: want == 0 ->
			if
			:: want = 1
			:: want = 3
			fi
		:: else
		fi;
		if
		:: limit >= end + want + 1
		:: else -> limit = consumed[i] + LANE
		fi
	}
}

#ifndef POLLING

proctype peer(byte i)
{
	byte sent, taken, end, limit, want, looked;
	bool no_room, more, seen, early;

	limit = LANE;
	do
	:: sent == MESSAGES && taken == MESSAGES -> break
	:: taken < published[1 - i] -> release(i, taken, looked, seen, early)
	:: sent < MESSAGES && !no_room ->
		look_for_room(i, limit, end, want);
		if
		:: limit >= end + want + 1 -> put(i, sent, end, want)
		:: else -> no_room = true
		fi
	:: (sent == MESSAGES || no_room) && taken == published[1 - i] && taken < MESSAGES + no_room ->
		more = false;
		if
		:: no_room ->
			wait_for_room(i, limit);
			more = limit >= end + want + 1
		:: else
		fi;
		if
		:: more -> no_room = false
		:: else ->
			/* R1 */
			atomic { drain(i); asleep[i] = true };
			/* R3 */
			publish(i, looked, seen, early);
			if
			:: taken < published[1 - i]
			:: else ->
				/* W3 and R4 are one */
end_R4:				bell[i];
				seen = true
			fi;
			/* R5 */
			late_awake[i] = true;
			if
			:: seen -> bell[i] = false
			:: else
			fi;
			seen = false;
			no_room = false
		fi;
		more = false
	od;
	/* Whoever stops reading gives back what it has read. */
	publish(i, looked, seen, early);
	done++
}

#else

proctype sender(byte i)
{
	byte sent, end, limit, want;

	limit = LANE;
	do
	:: sent == MESSAGES -> break
	:: else ->
		look_for_room(i, limit, end, want);
		if
		:: limit >= end + want + 1 -> put(i, sent, end, want)
		:: else ->
			wait_for_room(i, limit);
			if
			:: limit >= end + want + 1
			:: else ->
				/* W3 */
end_W3:				bell[i];
				bell[i] = false
			fi
		fi
	od;
	done++
}

proctype receiver(byte i)
{
	byte taken, looked;
	bool seen, early;

	do
	:: taken == MESSAGES -> break
	:: taken < published[1 - i] ->
		release(i, taken, looked, seen, early);
		if
		:: taken == published[1 - i] -> publish(i, looked, seen, early)
		:: else
		fi
	od;
	done++
}

#endif

active proctype judge()
{
	timeout;
	assert(done == 2)
}

init
{
	atomic {
#ifndef POLLING
		run peer(0);
		run peer(1)
#else
		run sender(0);
		run receiver(1)
#endif
	}
}
