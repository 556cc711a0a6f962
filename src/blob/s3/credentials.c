#include "blob/s3/credentials.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/timefmt.h"
#include <ctype.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX    65536
#define KEPT_US     (300 * USEC_PER_SEC) /* of a file or the environment: so that changed keys are found */
#define AHEAD_US    (300 * USEC_PER_SEC) /* before their end new ones are fetched */
#define METADATA_MS 1000L                /* connecting; an answer may take three times that */

void s3_credentials_init(struct s3_credentials *c, const char *file)
{
    *c = (struct s3_credentials){.until = 0};
    snprintf(c->file, sizeof(c->file), "%s", file);
    pthread_mutex_init(&c->lock, NULL);
}

void s3_credentials_release(struct s3_credentials *c)
{
    explicit_bzero(&c->keys, sizeof(c->keys));
    pthread_mutex_destroy(&c->lock);
}

void s3_credentials_drop(struct s3_credentials *c)
{
    pthread_mutex_lock(&c->lock);
    c->until = 0;
    pthread_mutex_unlock(&c->lock);
}

static bool keep(const char *value, char *ret, size_t size)
{
    if (!value || !*value || strlen(value) >= size)
        return false;
    snprintf(ret, size, "%s", value);
    return true;
}

static bool keep_all(struct s3_keys *k, const char *id, const char *secret, const char *token)
{
    k->token[0] = '\0';
    return keep(id, k->id, sizeof(k->id)) && keep(secret, k->secret, sizeof(k->secret)) &&
           (!token || !*token || keep(token, k->token, sizeof(k->token)));
}

static char *trim(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    for (size_t n = strlen(s); n > 0 && isspace((unsigned char)s[n - 1]); n--)
        s[n - 1] = '\0';
    return s;
}

/** [profile] and name = value, as AWS's own tools write it. */
static bool read_profile(char *text, const char *profile, struct s3_keys *k)
{
    const char *id = NULL, *secret = NULL, *token = NULL;
    bool ours = false;

    for (char *line; (line = strsep(&text, "\n"));) {
        char *value, *name = trim(line);
        size_t n = strlen(name);

        if (*name == '[') {
            ours = n > 2 && name[n - 1] == ']' && n - 2 == strlen(profile) && strncmp(name + 1, profile, n - 2) == 0;
            continue;
        }
        if (!ours || *name == '#' || !(value = strchr(name, '=')))
            continue;
        *value++ = '\0';
        name = trim(name);
        value = trim(value);
        if (strcmp(name, "aws_access_key_id") == 0)
            id = value;
        else if (strcmp(name, "aws_secret_access_key") == 0)
            secret = value;
        else if (strcmp(name, "aws_session_token") == 0)
            token = value;
    }
    return keep_all(k, id, secret, token);
}

/** ERR_NOT_FOUND: no such file. */
static int from_file(const char *path, struct s3_keys *k, struct err *err)
{
    const char *profile = getenv("AWS_PROFILE");
    struct buf text;

    buf_init(&text, FILE_MAX);
    int rc = fs_read(path, &text, err);

    if (rc == ERR_OK) {
        buf_addc(&text, '\0');
        profile = profile && *profile ? profile : "default";
        if (text.failed || !read_profile(text.data, profile, k))
            rc = err_set(err, ERR_INVALID, 0,
                         "'%.200s' has no aws_access_key_id and aws_secret_access_key below [%.60s]", path, profile);
        explicit_bzero(text.data, text.len);
    }
    buf_release(&text);
    return rc;
}

/* Instance metadata */

static size_t gather(char *p, size_t size, size_t n, void *arg)
{
    struct buf *b = arg;

    buf_add(b, p, size * n);
    return b->failed ? 0 : size * n;
}

/** @param header  "Name: value" */
static bool ask(const char *method, const char *path, const char *header, struct buf *ret)
{
    const char *base = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    struct curl_slist *headers = curl_slist_append(NULL, header);
    CURL *e = curl_easy_init();
    char url[1024];
    long status = 0;

    buf_reset(ret);
    snprintf(url, sizeof(url), "%s/latest/%s", base && *base ? base : "http://169.254.169.254", path);
    if (e && headers) {
        curl_easy_setopt(e, CURLOPT_URL, url);
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, method);
        curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http");
        curl_easy_setopt(e, CURLOPT_PROXY, "");
        curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, METADATA_MS);
        curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, 3 * METADATA_MS);
        curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, gather);
        curl_easy_setopt(e, CURLOPT_WRITEDATA, ret);
        if (curl_easy_perform(e) == CURLE_OK)
            curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &status);
    }
    curl_easy_cleanup(e);
    curl_slist_free_all(headers);
    return status == 200 && !ret->failed && ret->len > 0;
}

static bool from_metadata(struct s3_keys *k, usec *ret_until)
{
    static const char roles[] = "meta-data/iam/security-credentials/";
    char header[512], path[400];
    struct buf b;
    json_t *doc = NULL;
    usec until = 0;

    buf_init(&b, FILE_MAX);
    bool good = ask("PUT", "api/token", "X-aws-ec2-metadata-token-ttl-seconds: 21600", &b) && b.len < 400;

    if (good) {
        snprintf(header, sizeof(header), "X-aws-ec2-metadata-token: %s", trim(b.data));
        good = ask("GET", roles, header, &b) && b.len < 200;
    }
    if (good) {
        snprintf(path, sizeof(path), "%s%.*s", roles, (int)strcspn(buf_str(&b), "\r\n"), buf_str(&b));
        good = ask("GET", path, header, &b) && json_parse(b.data, b.len, &doc, NULL) == ERR_OK;
    }
    if (good) {
        const char *end = json_string_value(json_object_get(doc, "Expiration"));

        good = keep_all(k, json_string_value(json_object_get(doc, "AccessKeyId")),
                        json_string_value(json_object_get(doc, "SecretAccessKey")),
                        json_string_value(json_object_get(doc, "Token"))) &&
               end && rfc3339_parse(end, &until);
    }
    json_decref(doc);
    buf_release(&b);
    *ret_until = until - AHEAD_US;
    return good;
}

static int find(struct s3_credentials *c, usec now, struct err *err)
{
    const char *home = getenv("HOME"), *shared = getenv("AWS_SHARED_CREDENTIALS_FILE"),
               *off = getenv("AWS_EC2_METADATA_DISABLED");
    char path[600];
    int rc = ERR_NOT_FOUND;

    c->until = now + KEPT_US;
    if (c->file[0])
        return from_file(c->file, &c->keys, err);
    if (keep_all(&c->keys, getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY"), getenv("AWS_SESSION_TOKEN")))
        return ERR_OK;
    if (shared && *shared)
        rc = from_file(shared, &c->keys, err);
    else if (home && snprintf(path, sizeof(path), "%s/.aws/credentials", home) < (int)sizeof(path))
        rc = from_file(path, &c->keys, err);
    if (rc != ERR_NOT_FOUND)
        return rc;
    if (!(off && strcmp(off, "true") == 0) && from_metadata(&c->keys, &c->until))
        return ERR_OK;
    return err_set(err, ERR_INVALID, 0,
                   "no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or add credentials=FILE to "
                   "the URL, or write ~/.aws/credentials (and no instance metadata answers here)");
}

int s3_credentials_get(struct s3_credentials *c, usec wall_us, struct s3_keys *ret, struct err *err)
{
    int rc = ERR_OK;

    pthread_mutex_lock(&c->lock);
    if (c->until <= wall_us) {
        rc = find(c, wall_us, err);
        if (rc != ERR_OK)
            c->until = 0;
    }
    *ret = c->keys;
    pthread_mutex_unlock(&c->lock);
    return rc;
}
