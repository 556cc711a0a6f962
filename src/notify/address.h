#pragma once
/* Within the room: which addresses a webhook may reach. Pure. */
#include <stdbool.h>
#include <sys/socket.h>

/** Is it one of the public Internet's? Not: private, loopback, link-local, shared (carrier-grade NAT), multicast, documentation, reserved;
 * an IPv4 address inside an IPv6 one (mapped, NAT64) is judged as itself. What is no IP address is not public. */
bool address_public(const struct sockaddr *address);
