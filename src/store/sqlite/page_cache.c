/* At the end of each commit SQLite has its page cache forget the pages behind the database's last one. There are none, and the cache knows its
 * highest page; but whenever a tree splits pages it gives one of them, for a moment, the number of the page that holds the file's
 * locks (at 1 GiB, where no database has a page of its own), and from then on that counts as the highest. So a cache of 32 MiB was searched whole at every
 * commit: 25 us, a twentieth of the thread that writes. Here the highest page is known without that one. */
#include "store/sqlite/page_cache.h"
#include "base/auto.h"
#include <sqlite3.h>
#include <stdbool.h>

#define LOCKS_AT 0x40000000u /* PENDING_BYTE: part of the file format */

struct cache {
    sqlite3_pcache *real;
    unsigned highest; /* no page is above, but for the one that is parked */
    unsigned parking;
    bool parked; /* perhaps */
};

static sqlite3_pcache_methods2 platform;

static sqlite3_pcache *create(int page_size, int extra, int purgeable)
{
    struct cache *c = sqlite3_malloc(sizeof(*c));

    if (!c)
        return NULL;
    *c = (struct cache){.real = platform.xCreate(page_size, extra, purgeable),
                        .parking = LOCKS_AT / (unsigned)page_size + 1};
    if (!c->real) {
        sqlite3_free(c);
        return NULL;
    }
    return (sqlite3_pcache *)(void *)c;
}

static struct cache *cache_of(sqlite3_pcache *p)
{
    return (struct cache *)(void *)p;
}

static void destroy(sqlite3_pcache *p)
{
    platform.xDestroy(cache_of(p)->real);
    sqlite3_free(p);
}

static void resize(sqlite3_pcache *p, int pages)
{
    platform.xCachesize(cache_of(p)->real, pages);
}

static int count(sqlite3_pcache *p)
{
    return platform.xPagecount(cache_of(p)->real);
}

static void shrink(sqlite3_pcache *p)
{
    platform.xShrink(cache_of(p)->real);
}

static sqlite3_pcache_page *fetch(sqlite3_pcache *p, unsigned number, int make)
{
    struct cache *c = cache_of(p);

    if (make)
        c->highest = MAX(c->highest, number);
    return platform.xFetch(c->real, number, make);
}

static void unpin(sqlite3_pcache *p, sqlite3_pcache_page *page, int discard)
{
    platform.xUnpin(cache_of(p)->real, page, discard);
}

static void rekey(sqlite3_pcache *p, sqlite3_pcache_page *page, unsigned before, unsigned after)
{
    struct cache *c = cache_of(p);

    if (before == c->parking)
        c->parked = false;
    if (after == c->parking)
        c->parked = true;
    else
        c->highest = MAX(c->highest, after);
    platform.xRekey(c->real, page, before, after);
}

static void truncate_from(sqlite3_pcache *p, unsigned first)
{
    struct cache *c = cache_of(p);

    if (first > c->highest && !c->parked)
        return;
    platform.xTruncate(c->real, first);
    c->highest = MIN(c->highest, MAX(first, 1) - 1);
    c->parked = c->parked && first > c->parking;
}

void sqlite_page_cache_set_up(void)
{
    if (sqlite3_config(SQLITE_CONFIG_GETPCACHE2, &platform) != SQLITE_OK || platform.iVersion < 1)
        return;
    sqlite3_pcache_methods2 ours = platform; /* with its beginning and end */
    ours.iVersion = 1;
    ours.xCreate = create;
    ours.xDestroy = destroy;
    ours.xCachesize = resize;
    ours.xPagecount = count;
    ours.xShrink = shrink;
    ours.xFetch = fetch;
    ours.xUnpin = unpin;
    ours.xRekey = rekey;
    ours.xTruncate = truncate_from;
    sqlite3_config(SQLITE_CONFIG_PCACHE2, &ours);
}
