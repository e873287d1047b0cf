/* fuzz_control: whatever a line on the control socket holds, the gate answers with a JSON object, and lives. */
#include "fuzz.h"

#include "admin/requests.h"
#include "config/config.h"

static struct gate gate;

static void start_once(void)
{
    static bool started;
    static const char text[] =
        "{\"limits\": [{\"name\": \"one\", \"per\": \"recipient\", \"max\": 3, \"window\": \"1m\"},"
        "{\"name\": \"two\", \"per\": [\"sender\", \"client\"], \"max\": 3, \"window\": \"1h\", \"over\": "
        "\"reject\", \"hold\": \"1m\"},"
        "{\"name\": \"all\", \"per\": \"all\", \"max\": 9, \"window\": \"1d\", \"count\": \"attempts\", "
        "\"over\": \"discard\"}]}";
    struct problems problems = {0};
    struct error err = {0};
    if (started)
        return;
    started = true;
    const struct policy *policy = config_load(text, sizeof text - 1, &problems);
    demand(policy != NULL && problems_status(&problems) == 0);
    problems_done(&problems);
    demand(gate_init(&gate, policy, NULL, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    start_once();
    json_t *request = json_loadb((const char *)data, size, 0, NULL);
    if (request == NULL)
        return 0;
    json_t *report = requests_answer(&gate, request);
    demand(report != NULL && json_is_object(report));
    char *line = json_dumps(report, JSON_COMPACT);
    demand(line != NULL && strchr(line, '\n') == NULL);
    free(line);
    json_decref(report);
    json_decref(request);
    return 0;
}
