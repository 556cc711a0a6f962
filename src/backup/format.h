#pragma once
/* Within the room. */
#include "backup/backup.h"

#define BACKUP_BLOCK 512 /* of tar */
