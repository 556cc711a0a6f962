/* How one statement is made of many with the same text: `SELECT ... WHERE job_id = ?1` for a hundred jobs is the same, laterally joined
 * to a table of a hundred parameters; an UPDATE takes its values FROM such a table, an INSERT selects from it. */
#include "store/postgres/statement.h"
#include "base/buf.h"
#include <ctype.h>
#include <stdlib.h>

#define SHAPES 1024 /* places; half are ever taken */

#define TABLES 32 /* as many bits as a mark has */

struct shapes {
    char tables[TABLES][32]; /* those that were named */
    unsigned n_tables;
    struct shape *by_pointer[SHAPES];
    const char *pointers[SHAPES];
    size_t n;
};

struct shapes *shapes_new(void)
{
    return calloc(1, sizeof(struct shapes));
}

static void shape_free(struct shape *s)
{
    if (!s)
        return;
    free(s->sql);
    free(s->many);
    free(s);
}

void shapes_free(struct shapes *s)
{
    for (size_t i = 0; s && i < SHAPES; i++)
        shape_free(s->by_pointer[i]);
    free(s);
}

static bool in_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/** Outside brackets and literals, behind `from`; NULL: it is not there. `what` is in upper case, as keywords are in our texts. */
static const char *at_top(const char *text, const char *from, const char *what)
{
    int depth = 0;
    bool quoted = false;

    for (const char *p = text; *p; p++) {
        if (p >= from && depth == 0 && !quoted && strncmp(p, what, strlen(what)) == 0 &&
            (p == text || !in_word(p[-1])) && !in_word(p[strlen(what)]))
            return p;
        quoted ^= *p == '\'';
        if (!quoted)
            depth += (*p == '(') - (*p == ')');
    }
    return NULL;
}

/** Those that come when all are given out share the last one. */
static uint32_t table_bit(struct shapes *all, const char *name)
{
    size_t n = 0;
    unsigned i = 0;

    while (in_word(name[n]))
        n++;
    while (i < all->n_tables && (strncmp(all->tables[i], name, n) != 0 || all->tables[i][n] != 0))
        i++;
    if (i == all->n_tables && i < TABLES && n < sizeof(all->tables[i]))
        memcpy(all->tables[all->n_tables++], name, n);
    return UINT32_C(1) << MIN(i, TABLES - 1);
}

/** Names behind these words; a bit too many does no harm. None: BEGIN, SAVEPOINT. */
static uint32_t tables_of(struct shapes *all, const char *text)
{
    static const char *const before[] = {"FROM ", "JOIN ", "INTO ", "UPDATE "};
    uint32_t tables = 0;

    for (size_t i = 0; i < ARRAY_LEN(before); i++)
        for (const char *p = text; (p = strstr(p, before[i])) != NULL;) {
            p += strlen(before[i]);
            if (islower((unsigned char)*p))
                tables |= table_bit(all, p);
        }
    return tables;
}

static bool locks(const char *text)
{
    return strstr(text, "FOR UPDATE") != NULL;
}

/** `n` bytes of a text, with columns of w for its parameters. */
static void add_text(struct buf *b, const char *p, size_t n)
{
    for (const char *end = p + n; p < end; p++)
        if (*p == '$')
            buf_adds(b, "w.p");
        else
            buf_addc(b, *p);
}

static void add_table(struct buf *b, int n, bool numbered)
{
    buf_adds(b, "unnest(");
    for (int i = 1; i <= n; i++)
        buf_printf(b, "%s$%d", i > 1 ? ", " : "", i);
    buf_printf(b, ")%s AS w(", numbered ? " WITH ORDINALITY" : "");
    for (int i = 1; i <= n; i++)
        buf_printf(b, "%sp%d", i > 1 ? ", " : "", i);
    buf_adds(b, numbered ? ", i)" : ")");
}

/** In the order of the parameters: two servers that lock the same rows wait for one another, and not each for the other. */
static void add_order(struct buf *b, int n)
{
    for (int i = 1; i <= n; i++)
        buf_printf(b, "%sw.p%d", i > 1 ? ", " : " ORDER BY ", i);
}

static void many_selects(struct buf *b, const char *text, int n)
{
    buf_adds(b, "SELECT w.i, q.* FROM ");
    if (locks(text))
        buf_adds(b, "(SELECT * FROM ");
    add_table(b, n, true);
    if (locks(text)) {
        add_order(b, n);
        buf_adds(b, ") AS w");
    }
    buf_adds(b, " CROSS JOIN LATERAL (");
    add_text(b, text, strlen(text));
    buf_adds(b, ") AS q");
}

/** The table of parameters comes before the WHERE, behind `word`. */
static bool many_where(struct buf *b, const char *text, const char *word, int n)
{
    const char *where = at_top(text, text, "WHERE");

    if (!where)
        return false;
    add_text(b, text, (size_t)(where - text));
    buf_adds(b, word);
    add_table(b, n, false);
    buf_addc(b, ' ');
    add_text(b, where, strlen(where));
    return true;
}

static bool many_values(struct buf *b, const char *text, const char *values, int n)
{
    const char *list = strchr(values, '('), *end = list;
    int depth = 0;

    for (; end && *end; end++) {
        depth += (*end == '(') - (*end == ')');
        if (depth == 0)
            break;
    }
    if (!end || !*end || strchr(end, '$'))
        return false;
    buf_add(b, text, (size_t)(values - text));
    buf_adds(b, "SELECT ");
    add_text(b, list + 1, (size_t)(end - list - 1));
    buf_adds(b, " FROM ");
    add_table(b, n, false);
    add_order(b, MIN(n, 2));
    buf_adds(b, end + 1);
    return true;
}

static bool many_writes(struct buf *b, struct shape *s, const char *text, int n)
{
    const char *values = at_top(text, text, "VALUES");

    if (at_top(text, text, "RETURNING"))
        return false;
    if (strncmp(text, "INSERT", 6) == 0 && values) {
        s->inserts = !at_top(text, values, "ON");
        return (s->inserts || s->types[0] == 'u') && many_values(b, text, values, n); /* else two may meet in a row */
    }
    if (strncmp(text, "INSERT", 6) == 0)
        return !at_top(text, text, "ON") && at_top(text, text, "FROM") && many_where(b, text, ", ", n);
    if (strncmp(text, "UPDATE", 6) == 0)
        return !at_top(text, text, "FROM") && many_where(b, text, "FROM ", n);
    return strncmp(text, "DELETE", 6) == 0 && many_where(b, text, "USING ", n);
}

static bool shape_fill(struct shapes *all, struct shape *s, const char *sql, const char *types)
{
    char text[SQL_MAX];
    const int n = (int)strlen(types);
    struct buf b;

    if (n > PARAMS_MAX || !pg_words(sql, true, text) || !(s->sql = strdup(sql)))
        return false;
    snprintf(s->types, sizeof(s->types), "%s", types);
    s->look = strncmp(sql, "SELECT", 6) == 0;
    s->once = strstr(sql, "/*once*/") != NULL;
    s->first = strstr(sql, "/*first*/") != NULL;
    s->later = strstr(sql, "/*later*/") != NULL;
    s->has_uuid = strchr(types, 'u') != NULL;
    s->of_all = strstr(sql, "/*of all*/") != NULL;
    s->tables = tables_of(all, sql);
    buf_init(&b, (size_t)4 * SQL_MAX);
    const bool ahead = s->look && !strstr(sql, "/*alone*/");
    if (n > 0 && ahead)
        many_selects(&b, text, n);
    if (n > 0 && (ahead || (!s->look && s->has_uuid && many_writes(&b, s, text, n))) && !b.failed)
        s->many = buf_take(&b);
    buf_release(&b);
    return true;
}

const struct shape *shape_of(struct shapes *s, const char *sql, const char *types, bool make)
{
    size_t at = ((uintptr_t)sql >> 3) * 2654435761u % SHAPES;

    for (; s->pointers[at]; at = (at + 1) % SHAPES)
        if (s->pointers[at] == sql && strcmp(s->by_pointer[at]->sql, sql) == 0)
            return strcmp(s->by_pointer[at]->types, types) == 0 ? s->by_pointer[at] : NULL;
    if (!make || s->n >= SHAPES / 2)
        return NULL;
    struct shape *made = calloc(1, sizeof(*made));
    if (!made || !shape_fill(s, made, sql, types)) {
        shape_free(made);
        return NULL;
    }
    s->pointers[at] = sql;
    s->by_pointer[at] = made;
    s->n++;
    return made;
}
