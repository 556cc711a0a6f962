#include "app/drivers.h"
#include "blob/folder/folder.h"
#include "store/sqlite/sqlite.h"

const struct store_driver *app_store_driver(void)
{
    return store_sqlite();
}

const struct blob_driver *app_blob_driver(void)
{
    return blob_folder();
}
