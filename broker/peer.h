/* SPDX-License-Identifier: MIT */
/*
 * peer.h - one client being served: told what is due, watched, let go.
 *
 *      adopt ──▶ SERVED ──drop──▶ CLOSING ──no operation in the kernel──▶ FREE
 *
 * All of it runs in the worker that serves the peer. Whatever a client does costs
 * that client: a full socket parks its cursor, a word from it ends its membership.
 */
#ifndef PEER_H
#define PEER_H

#include "worker.h"

/**
 * peer_message_bytes() - what one message takes of a socket's buffer in this kernel: what
 * divides SIOCOUTQ into a number of messages that a client has not read. Any thread.
 */
int peer_message_bytes(void);

/** peer_adopt() - a MESSAGE_ADOPT; the socket is ours from here on, whatever happens. */
void peer_adopt(struct worker *w, const struct message *m);

/**
 * peer_resume() - serve @id, which is taken, where a broker before us left it: it is told
 * nothing twice.
 */
void peer_resume(struct worker *w, uint32_t id);

/**
 * peer_tell() - send what is due, at most @most notices. Returns how many it was tried with;
 * with 0 the peer has moved to where it waits.
 */
unsigned peer_tell(struct peer *p, unsigned most);

/** peer_drop() - let go of it; says MESSAGE_GONE once its socket is closed. */
void peer_drop(struct peer *p, enum gone_reason reason, int error);

/**
 * peer_abandon() - at our end: close its socket. A client in the middle of its opening is
 * refused, since a silent close would leave a QEMU spinning.
 */
void peer_abandon(struct peer *p);

/** peer_check_stall() - drop it if it has read nothing for too long. */
void peer_check_stall(struct peer *p, uint64_t now_ns);

/** peer_report() - fill in its line. */
void peer_report(const struct peer *p, struct report_peer *line);

#endif
