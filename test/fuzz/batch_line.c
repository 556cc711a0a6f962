/* haul submit --batch: a line of the file, with the command line's defaults. */
#include "fuzz.h"
#include "base/json.h"
#include "cli/batch_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *defaults =
        json_pack("{s:s,s:i,s:{s:s},s:s}", "task_type", "t", "priority", 3, "labels", "a", "b", "delay", "10m");
    struct buf out;
    struct err err = {0};
    json_t *doc = NULL;
    bool own = false;
    MUST(defaults);
    buf_init(&out, 4u << 20);
    int rc = batch_line((const char *)data, size, defaults, &out, &own, &err);
    must_explain(rc, &err);
    MUST(rc == ERR_OK || out.len == 0);
    if (rc == ERR_OK) {
        MUST(json_parse(buf_str(&out), out.len, &doc, &err) == ERR_OK && json_is_object(doc));
        MUST(json_object_get(doc, "task_type") && json_object_get(doc, "priority"));
        MUST(!json_object_get(doc, "run_at") || json_object_get(doc, "run_at") != json_object_get(doc, "delay"));
        json_decref(doc);
    }
    buf_release(&out);
    json_decref(defaults);
    return 0;
}
