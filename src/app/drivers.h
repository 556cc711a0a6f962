#pragma once
/* The drivers this program was built with. The only file that names them. */
#include "blob/blob.h"
#include "store/store.h"

const struct store_driver *app_store_driver(void);
const struct blob_driver *app_blob_driver(void);
