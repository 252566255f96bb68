/* SPDX-License-Identifier: MIT */
/*
 * wakeup.pml - the wake-up of one receiver by two senders: S1-S5, R1-R5, C1, C2 of lane.h.
 *
 * A lane is how many messages of it are visible, and how many were read. What memory does to
 * stores is modelled as in tests/lanes/sim.h: a store that is not ordered waits in a buffer, which
 * `memory` empties whenever it likes; an ordered store, and a locked instruction, first empty it.
 * A load that -DWEAK_x makes relaxed may have been made before S1 already.
 *
 * Judged where nothing moves any more: then every message must have been read. A message that
 * lies there while the receiver sleeps is a wake-up that was lost.
 */
#define SENDERS  2
#define MESSAGES 2

byte published[SENDERS]; /* head words that are visible */
byte taken[SENDERS];
bool marked[SENDERS];
bool in_hand[SENDERS];
byte asleep;
bool bell;

/* The senders' stores of S1, if it is weak; the receiver's of R1 and R5, in order. */
byte late[SENDERS];
byte late_asleep[3];
byte late_count;
byte done;

inline drain_sender(s)
{
	if
	:: late[s] > published[s] -> published[s] = late[s]
	:: else
	fi
}

inline drain_receiver()
{
	if
	:: late_count > 0 ->
		asleep = late_asleep[late_count - 1];
		late_asleep[0] = 0;
		late_asleep[1] = 0;
		late_asleep[2] = 0;
		late_count = 0
	:: else
	fi
}

active proctype memory()
{
end:	do
	:: atomic { late[0] > published[0] -> published[0] = late[0] }
	:: atomic { late[1] > published[1] -> published[1] = late[1] }
	:: atomic {
		late_count > 0 ->
		asleep = late_asleep[0];
		late_asleep[0] = late_asleep[1];
		late_asleep[1] = late_asleep[2];
		late_asleep[2] = 0;
		late_count--
	   }
	od
}

proctype sender(byte s)
{
	byte n, rung, seen_asleep, early_asleep;
	bool seen_bit, early_bit;

	do
	:: n == MESSAGES -> break
	:: else ->
		atomic {
			n++;
			early_asleep = asleep;
			early_bit = marked[s]
		}
S1:
#ifdef WEAK_S1
		late[s] = n;
#else
		atomic { late[s] = n; published[s] = n }
#endif
S3:		atomic {
			seen_bit = marked[s];
#ifdef WEAK_S3
			if
			:: seen_bit = early_bit
			:: skip
			fi;
#endif
			early_bit = false
		};
		if
		:: seen_bit
		:: else ->
			atomic {
#ifndef WEAK_S3
				drain_sender(s);
#endif
				marked[s] = true;
				seen_bit = false
			}
		fi;
S4:		atomic {
			seen_asleep = asleep;
#ifdef WEAK_S4
			if
			:: seen_asleep = early_asleep
			:: skip
			fi;
#endif
			early_asleep = 0
		};
		if
		:: seen_asleep != 0 && seen_asleep != rung ->
			rung = seen_asleep;
S5:			bell = true
		:: else
		fi;
		seen_asleep = 0;
		seen_bit = false
	od;
	done++
}

/* C1 and C2 for the lane in hand from s; keeps it if there is something after all. */
inline let_go(s, found)
{
#ifdef WEAK_C1
	found = published[s] > taken[s];
	if
	:: found
	:: else ->
		atomic { drain_receiver(); marked[s] = false };
		in_hand[s] = false
	fi
#else
	/* C1 */
	atomic { drain_receiver(); marked[s] = false };
	/* C2 */
	found = published[s] > taken[s];
	if
	:: found
	:: else -> in_hand[s] = false
	fi
#endif
}

inline collect(s, found)
{
	atomic {
		if
		:: marked[s] && !in_hand[s] -> in_hand[s] = true; found = true
		:: else
		fi
	}
}

/* R3 for one lane: the careful look, and perhaps it goes out of hand. */
inline look(s, more, found)
{
	if
	:: atomic { in_hand[s] && published[s] > taken[s] -> more = true }
	:: atomic { in_hand[s] && published[s] == taken[s] }
	:: atomic { in_hand[s] && published[s] == taken[s] };
		let_go(s, found);
		atomic { more = more || found; found = false }
	:: !in_hand[s]
	fi
}

active proctype receiver()
{
	byte number;
	bool more, found;

	do
	:: /* poll: read what is in hand */
		atomic { in_hand[0] && published[0] > taken[0] -> taken[0]++ }
	:: atomic { in_hand[1] && published[1] > taken[1] -> taken[1]++ }
	:: /* a lane was empty long enough */
		atomic { in_hand[0] && published[0] == taken[0] };
		let_go(0, found);
		found = false
	:: atomic { in_hand[1] && published[1] == taken[1] };
		let_go(1, found);
		found = false
	:: atomic { marked[0] && !in_hand[0] -> in_hand[0] = true }
	:: atomic { marked[1] && !in_hand[1] -> in_hand[1] = true }
	:: /* sleep: only where a look at what is in hand has just found nothing */
		atomic {
			!(in_hand[0] && published[0] > taken[0]) &&
			!(in_hand[1] && published[1] > taken[1]) ->
#ifdef ONE_NUMBER
			number = 1
#else
			number++
#endif
		};
R1:
#ifdef WEAK_R1
		atomic {
			late_count < 3;
			late_asleep[late_count] = number;
			late_count++
		};
#else
		atomic { drain_receiver(); asleep = number };
#endif
		/* R3: every lane in hand, then the bitmap */
		look(0, more, found);
		look(1, more, found);
		collect(0, more);
		collect(1, more);
		if
		:: more
		:: else ->
end_R4:			bell
		fi;
		/* R5: relaxed */
		atomic {
			late_count < 3;
			late_asleep[late_count] = 0;
			late_count++
		};
		if
		:: atomic { more -> more = false }
		:: atomic { !more -> bell = false }
		fi
	od
}

/* When nothing moves any more. */
active proctype judge()
{
	timeout;
	assert(done == SENDERS && taken[0] == MESSAGES && taken[1] == MESSAGES)
}

init
{
	atomic { run sender(0); run sender(1) }
}
