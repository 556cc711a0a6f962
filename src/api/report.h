#pragma once
/* Within the room: the bodies of complete and fail. Pure. */
#include "api/request.h"

int complete_parse(json_t *root, struct arena *arena, struct op_complete *ret, struct err *err);
int fail_parse(json_t *root, struct arena *arena, struct op_fail *ret, struct err *err);
