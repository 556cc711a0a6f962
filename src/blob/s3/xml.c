#include "blob/s3/xml.h"
#include <expat.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX  8
#define PATH_BYTES 256

struct walk {
    XML_Parser parser;
    bool (*leaf)(void *arg, const char *path, const char *text);
    void *arg;
    char *root;
    char path[PATH_BYTES], text[S3_XML_TEXT_MAX];
    size_t path_n[DEPTH_MAX + 1], n;
    unsigned depth; /* the root's is 1 */
    bool refused, no_memory;
};

static void refuse(struct walk *w)
{
    w->refused = true;
    XML_StopParser(w->parser, XML_FALSE);
}

static void on_start(void *arg, const char *name, const char **attributes)
{
    struct walk *w = arg;
    const char *colon = strrchr(name, ':');
    size_t at = w->depth > 0 ? w->path_n[w->depth] : 0;

    if (colon)
        name = colon + 1;
    w->n = 0;
    if (++w->depth > DEPTH_MAX) {
        refuse(w);
        return;
    }
    if (w->depth == 1) {
        snprintf(w->root, 64, "%s", name);
    } else {
        int n = snprintf(w->path + at, sizeof(w->path) - at, "%s%s", at > 0 ? "/" : "", name);

        if (n < 0 || (size_t)n >= sizeof(w->path) - at)
            refuse(w);
        else
            at += (size_t)n;
    }
    w->path_n[w->depth] = at;
}

static void on_end(void *arg, const char *name)
{
    struct walk *w = arg;

    if (w->refused || w->no_memory)
        return;
    w->path[w->path_n[w->depth]] = '\0';
    w->text[w->n] = '\0';
    if (!w->leaf(w->arg, w->path, w->text)) {
        w->no_memory = true;
        XML_StopParser(w->parser, XML_FALSE);
    }
    w->depth--;
    w->n = 0;
}

static void on_text(void *arg, const char *p, int n)
{
    struct walk *w = arg;

    if ((size_t)n >= sizeof(w->text) - w->n) {
        refuse(w);
        return;
    }
    memcpy(w->text + w->n, p, (size_t)n);
    w->n += (size_t)n;
}

static void on_doctype(void *arg, const char *name, const char *sysid, const char *pubid, int internal)
{
    refuse(arg);
}

int s3_xml(const char *p, size_t n, bool (*leaf)(void *arg, const char *path, const char *text), void *arg,
           char ret_root[64], struct err *err)
{
    struct walk w = {.leaf = leaf, .arg = arg, .root = ret_root, .parser = XML_ParserCreate(NULL)};

    ret_root[0] = '\0';
    if (!w.parser)
        return err_set(err, ERR_NO_MEMORY, 0, "read an answer of S3");
    XML_SetUserData(w.parser, &w);
    XML_SetElementHandler(w.parser, on_start, on_end);
    XML_SetCharacterDataHandler(w.parser, on_text);
    XML_SetStartDoctypeDeclHandler(w.parser, on_doctype);
    bool good = n <= 64u << 20 && XML_Parse(w.parser, p, (int)n, XML_TRUE) == XML_STATUS_OK;

    XML_ParserFree(w.parser);
    if (w.no_memory)
        return err_set(err, ERR_NO_MEMORY, 0, "read an answer of S3");
    return good ? ERR_OK : err_set(err, ERR_CORRUPT, 0, "what answers is no S3 server: it sent no XML as S3 does");
}
