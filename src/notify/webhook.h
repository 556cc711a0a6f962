#pragma once
/* Within the room: a message as a signed POST. */
#include "notify/message.h"
#include "notify/receiver.h"

int webhook_check(const struct receiver *r, struct err *err);
/** One try, of at most the receiver's timeout. @param stop_fd  readable: end at once */
void webhook_send(const struct receiver *r, const struct message *m, int stop_fd, struct outcome *ret);
/** "https://host:port" of its URL, which may hold a secret in its path. @param ret  of 300 bytes */
void webhook_origin(const struct receiver *r, char *ret, size_t size);
