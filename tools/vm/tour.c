/* SPDX-License-Identifier: MIT */
/*
 * tour.c - what the operator is told on the screen: what to type.
 */
#include "tour.h"

#include <stdio.h>
#include <unistd.h>

static void show_chat(const struct guest *one, const struct guest *other)
{
	if (other && one->id >= 0 && other->id >= 0)
		(void)printf("\n"
			     "  here, in node %u:      echo \"%d:hello\" >/dev/famez0\n"
			     "  then ^] %u, node %u:    cat /dev/famez0        (^C ends it)\n",
			one->node, other->id, other->node, other->node);
	if (one->id >= 0)
		(void)printf("  who is there:         famez-client -S /dev/famez0 who\n");
}

void tour_show(const struct guest *guests, unsigned count, const char *socket, const char *folder,
	const char *client)
{
	(void)printf("\n%u guest%s up. This terminal is the console of node 1.\n", count,
		count == 1 ? " is" : "s are");
	for (unsigned i = 0; i < count; i++)
		if (guests[i].id >= 0)
			(void)printf(
				"  node %-3u ID %d in the fabric\n", guests[i].node, guests[i].id);
	show_chat(&guests[0], count > 1 ? &guests[1] : NULL);
	if (guests[0].id >= 0)
		(void)printf("\n"
			     "  on the host, in another terminal:\n"
			     "    %s -S %s\n"
			     "    and there: who, or: send %d hello\n",
			client ? client : "famez-client", socket, guests[0].id);
	(void)printf("    famez-vm console %u --folder %s\n\n", count > 1 ? 2u : 1u, folder);
	tour_keys(count);
	(void)fflush(stdout);
}

void tour_keys(unsigned nodes)
{
	if (nodes > 1)
		(void)printf("  ^] 1 to ^] %u  that node's console       ^] n  the next one\n",
			nodes < 9 ? nodes : 9);
	(void)printf("  ^] q  ends all of it                     ^] ?  this\n\n");
	(void)fflush(stdout);
}
