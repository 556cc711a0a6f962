#pragma once
/* Blobs in a folder:
 *     DIR/folder-id    36 characters; the store knows it
 *     DIR/tmp/<uuid>   uploads on their way; emptied at open
 *     DIR/uploads/     resumable uploads on their way (partial.c)
 *     DIR/xx/<uuid>    whole blobs, read-only; xx: the id's last two hex digits (a version 7 id begins with time: no spread there)
 * One process at a time: the directory is locked while it is open. Any thread may use it; an upload belongs to one at a time.
 * Fault points: folder.create, folder.write, folder.sync, folder.rename, folder.sync_dir, folder.read, folder.remove, folder.link,
 * folder.resume, folder.mark. */
#include "blob/blob.h"

const struct blob_driver *blob_folder(void);
