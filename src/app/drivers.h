#pragma once
/* The drivers this program was built with. The only file that names them. */
#include "blob/blob.h"
#include "broker/broker.h"
#include "store/store.h"

/** The store of `url`; NULL: the embedded one. ERR_INVALID: none of ours. */
int app_store_driver(const char *url, const struct store_driver **ret, struct err *err);
/** The one in the data folder, which backups and restores know. */
const struct store_driver *app_store_embedded(void);
/** The broker of `url`; NULL: servers over a database of `store_url` tell one another through that, one with an embedded store (NULL) nobody.
 * ERR_INVALID: none of ours. */
int app_broker_driver(const char *url, const char *store_url, const struct broker_driver **ret, struct err *err);
/** The blobs of `url`; NULL: the folder. ERR_INVALID: none of ours. */
int app_blob_driver(const char *url, const struct blob_driver **ret, struct err *err);
/** The one in the data folder, which backups and restores know. */
const struct blob_driver *app_blob_folder(void);
