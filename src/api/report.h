#pragma once
/* Within the room: the bodies of complete and fail. Pure. */
#include "api/request.h"

/* @param newer  req_newer(): unknown members are passed over, and an unknown outcome counts as error. */
int complete_parse(json_t *root, bool newer, struct arena *arena, struct op_complete *ret, struct err *err);
const char *phase_name(enum part_kind kind); /* "download" */
int fail_parse(json_t *root, bool newer, struct arena *arena, struct op_fail *ret, struct err *err);
