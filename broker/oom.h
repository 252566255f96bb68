/* SPDX-License-Identifier: MIT */
/*
 * oom.h - whom the kernel takes when memory runs out: the broker, which has a successor, before
 * the keeper, whose end strands everybody.
 *
 * Where we have the right (CAP_SYS_RESOURCE) the keeper's oom_score_adj goes down, and the
 * broker keeps what we were started with. Otherwise the broker's goes up, by as little as
 * counts: it is larger anyway. Failures are passed over: then it is as it would be without us.
 *
 * One thread.
 */
#ifndef OOM_H
#define OOM_H

/** oom_keep() - in the keeper, before it has a broker. */
void oom_keep(void);

/** oom_serve() - in the broker, while it may still open files. */
void oom_serve(void);

/** oom_as_before() - in the keeper, before it becomes another program. */
void oom_as_before(void);

#endif
