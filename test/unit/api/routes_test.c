/* docs/openapi.yaml and the table of routes name the same operations. The dashboard's pages are none: they are for people. */
#include "unit.h"
#include "api/routes.h"
#include "api/api.h"
#include "base/auto.h"
#include "base/config.h"

static const char *spec_path;

/* "/v1/jobs/{job_id}" -> "/v1/jobs/{}": what a parameter is called is each side's own. */
static void shape(const char *path, char ret[256])
{
    size_t n = 0;
    bool within = false;
    for (; *path && n < 255; path++) {
        within = within && *path != '}';
        if (!within)
            ret[n++] = *path;
        within = within || *path == '{';
    }
    ret[n] = 0;
}

static bool is_page(const struct http_route *route)
{
    return route->handle == dashboard_page || route->handle == dashboard_asset;
}

static const char *method_of(const struct config_node *path, const char *key)
{
    static const char *const methods[][2] = {{"get", "GET"},       {"post", "POST"},   {"put", "PUT"},
                                             {"delete", "DELETE"}, {"patch", "PATCH"}, {"options", "OPTIONS"}};
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (strcmp(key, methods[i][0]) == 0)
            return methods[i][1];
    if (strcmp(key, "head") == 0 && !config_find(path, "get"))
        return "HEAD";
    return NULL; /* parameters, head (which every GET answers) */
}

static bool routed(const char *method, const char *path)
{
    char wanted[256], have[256];
    shape(path, wanted);
    for (size_t i = 0; i < api_n_routes; i++) {
        shape(api_routes[i].path, have);
        if (strcmp(method, api_routes[i].method) == 0 && strcmp(wanted, have) == 0)
            return true;
    }
    return false;
}

static bool written(const struct config_node *paths, const struct http_route *route)
{
    char wanted[256], have[256];
    shape(route->path, wanted);
    for (size_t i = 0; i < paths->n_items; i++) {
        shape(paths->items[i]->key, have);
        for (size_t k = 0; strcmp(wanted, have) == 0 && k < paths->items[i]->n_items; k++) {
            const char *method = method_of(paths->items[i], paths->items[i]->items[k]->key);
            if (method && strcmp(method, route->method) == 0)
                return true;
        }
    }
    return false;
}

static void test_both_ways(void **state)
{
    struct config *c = NULL;
    struct err err = {0};
    size_t operations = 0, pages = 0, wrong = 0;
    (void)state;
    if (config_load(spec_path, &c, &err) != ERR_OK)
        fail_msg("%s", err.msg);
    const struct config_node *paths = config_find(c->root, "paths");
    assert_non_null(paths);
    for (size_t i = 0; i < paths->n_items; i++)
        for (size_t k = 0; k < paths->items[i]->n_items; k++) {
            const char *method = method_of(paths->items[i], paths->items[i]->items[k]->key);
            operations += method != NULL;
            if (method && !routed(method, paths->items[i]->key)) {
                print_error("docs/openapi.yaml has %s %s, the server does not\n", method, paths->items[i]->key);
                wrong++;
            }
        }
    for (size_t i = 0; i < api_n_routes; i++) {
        pages += is_page(&api_routes[i]);
        if (!is_page(&api_routes[i]) && !written(paths, &api_routes[i])) {
            print_error("the server has %s %s, docs/openapi.yaml does not\n", api_routes[i].method, api_routes[i].path);
            wrong++;
        }
    }
    config_free(c);
    assert_int_equal(wrong, 0);
    assert_int_equal(operations + pages, api_n_routes);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_both_ways)};
    if (argc != 2)
        return 2;
    spec_path = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
