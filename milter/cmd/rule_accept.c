/* rule_accept: see rule_accept.h. Owns nothing; fails where the gate refuses, or cannot be heard. */
#include "rule_accept.h"

#include "ask.h"
#include "command.h"
#include "aliases/aliases.h"
#include "gate/state_dir.h"

#include <jansson.h>
#include <stdio.h>

static int accept_at_start(const struct policy *policy, bool silent, struct error *err)
{
    char copy[STATE_DIR_PATH];
    if (state_dir_take_ids(policy, NULL, 0, err) < 0 ||
        aliases_accept_at_start(state_dir_path(policy->state, STATE_DIR_ALIASES_COPY, copy), err) < 0)
        return EXIT_REFUSED;
    if (!silent)
        printf("no gate runs: the next one takes %s as it is\n", policy->aliases.database);
    return EXIT_DONE;
}

static void say_taken(json_int_t aliases, json_int_t domains)
{
    printf("taken: %" JSON_INTEGER_FORMAT " alias%s, %" JSON_INTEGER_FORMAT " domain%s\n", aliases,
           aliases == 1 ? "" : "es", domains, domains == 1 ? "" : "s");
}

int rule_accept(const struct policy *policy, bool silent, struct error *err)
{
    bool absent = false;
    struct error unheard = {0};
    if (policy == NULL || policy->aliases.database == NULL) {
        error_set(err, "accept needs the policy of the gate, with alias rules in it");
        return EXIT_CONFIG;
    }
    json_t *request = json_pack("{s:s}", "do", "alias-accept");
    json_t *report = request != NULL ? ask_running(policy, request, &absent, &unheard) : NULL;
    json_decref(request);
    if (absent)
        return accept_at_start(policy, silent, err);
    const char *error = report != NULL ? json_string_value(json_object_get(report, "error")) : unheard.text;
    int status = report == NULL ? EXIT_UNAVAILABLE : error != NULL ? EXIT_REFUSED : EXIT_DONE;
    if (error != NULL)
        error_set(err, "%s", error[0] != '\0' ? error : "out of memory");
    else if (!silent)
        say_taken(json_integer_value(json_object_get(report, "aliases")),
                  json_integer_value(json_object_get(report, "domains")));
    json_decref(report);
    return status;
}
