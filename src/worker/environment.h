#pragma once
#include "worker/attempt.h"

/** What a handler finds in its environment: nothing of ours. Each is an owned string: string_list_free. @param resumed  checkpoint/ holds
 * what an attempt before kept */
int environment_make(const struct attempt *a, bool resumed, struct string_list *ret, struct err *err);
