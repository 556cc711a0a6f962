#include "app/drivers.h"
#include "blob/folder/folder.h"
#include "broker/none/none.h"
#include "broker/notify/notify.h"
#include "broker/redis/redis.h"
#include "blob/s3/s3.h"
#include "store/postgres/postgres.h"
#include "store/sqlite/sqlite.h"
#include <string.h>

int app_store_driver(const char *url, const struct store_driver **ret, struct err *err)
{
    *ret = NULL;
    if (!url)
        *ret = app_store_embedded();
    else if (strncmp(url, "postgres://", 11) == 0 || strncmp(url, "postgresql://", 13) == 0)
        *ret = store_postgres();
    /* Not what it says: there may be a password in it. */
    return *ret ? ERR_OK
                : err_field(err, "store", "must begin with postgres://; without it the data folder holds the database");
}

const struct store_driver *app_store_embedded(void)
{
    return store_sqlite();
}

int app_blob_driver(const char *url, const struct blob_driver **ret, struct err *err)
{
    *ret = !url ? app_blob_folder() : strncmp(url, "s3://", 5) == 0 ? blob_s3() : NULL;
    return *ret ? ERR_OK : err_field(err, "blob", "must begin with s3://; without it the data folder holds the blobs");
}

const struct blob_driver *app_blob_folder(void)
{
    return blob_folder();
}

int app_broker_driver(const char *url, const char *store_url, const struct broker_driver **ret, struct err *err)
{
    *ret = NULL;
    if (!url)
        *ret = store_url ? broker_notify() : broker_none();
    else if (strncmp(url, "redis", 5) == 0)
        *ret = broker_redis();
    return *ret ? ERR_OK : err_field(err, "broker", "must begin with redis://, rediss:// or redis+unix://");
}
