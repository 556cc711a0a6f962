/* GET /v1/openapi.yaml: docs/openapi.yaml, as it was when this program was built. */
#include "api/request.h"
#include "api/routes.h"

extern const char api_openapi[]; /* made by the build */
extern const size_t api_openapi_size;

void openapi_get(struct http_request *req)
{
    struct err err;
    if (!api_enter(req))
        return;
    err_clear(&err);
    if (req_query_none(req, &err) != ERR_OK)
        reply_err(req, &err);
    else
        reply_text(req, 200, "application/yaml", api_openapi, api_openapi_size);
}
