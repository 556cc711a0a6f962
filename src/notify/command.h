#pragma once
/* Within the room: a message as a program that is run with it. */
#include "notify/message.h"
#include "notify/receiver.h"

/** Is there such a program? */
int command_check(const struct receiver *r, struct err *err);
/** One try, of at most the receiver's timeout; whatever the program leaves of its process group is killed. @param stop_fd  as webhook_send */
void command_run(const struct receiver *r, const struct message *m, int stop_fd, struct outcome *ret);
