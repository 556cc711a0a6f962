#pragma once
#include "base/err.h"

/** Which server: `flag` (may be NULL), then HAUL_SERVER, then client.server of the configuration file, then the default.
 * @param config_flag  --config, may be NULL: then $HAUL_CONFIG, the user's haul/haul.yaml, /etc/haul/haul.yaml; one named and absent is
 * an error. @param ret  free() */
int config_server(const char *flag, const char *config_flag, char **ret, struct err *err);
