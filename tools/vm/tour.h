/* SPDX-License-Identifier: MIT */
/*
 * tour.h - what the operator is told on the screen: what to type.
 */
#ifndef VM_TOUR_H
#define VM_TOUR_H

#include "guest.h"

/** tour_show() - all guests are up. @client: famez-client's path. */
void tour_show(const struct guest *guests, unsigned count, const char *socket, const char *folder,
	const char *client);

/** tour_keys() - what the keys after ^] do. */
void tour_keys(unsigned nodes);

#endif
