/* policy: what a file becomes, which problems it has, and that the parser, the schema and the manual speak
 * of the same keys. */
#include "config/config.h"
#include "keys.h"

#include "jsonmap.h"
#include "base/text.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LIMIT(more)                                                                                          \
    "{\"limits\":[{\"name\":\"x\",\"per\":\"client\",\"count\":\"attempts\",\"over\":\"reject\"," more "}]}"
#define ASKS "\"max\":10,\"window\":\"1m\""

/* Every key once, and nothing that a version could not use. */
static const char example[] =
    "{\n"
    "  \"mode\": \"shadow\",\n"
    "  \"milter\": { \"socket\": \"unix:/run/x.sock\", \"group\": \"mail\", \"mode\": \"0600\" },\n"
    "  \"state\": \"/state\",\n"
    "  \"aliases\": { \"database\": \"/db\", \"subaddress\": \"+-\", \"max_stale\": \"2h\", \"max_shrink\": "
    "\"20%\", \"conceal\": true },\n"
    "  \"counters\": { \"url\": \"redis://127.0.0.1:6380/2\", \"password_file\": \"/pw\", \"prefix\": "
    "\"gate\",\n"
    "    \"timeout\": \"50ms\", \"when_down\": \"defer\", \"local_share\": \"25%\", \"max_new_subjects\": "
    "7,\n"
    "    \"client_network\": { \"ipv4\": 24, \"ipv6\": 56 } },\n"
    "  \"http\": { \"listen\": \"127.0.0.1:9627\", \"subjects\": true, \"hosts\": [\"Gate.Example.COM.\", "
    "\"::1\"] },\n"
    "  \"log\": { \"to\": \"stderr\", \"level\": \"debug\" },\n"
    "  \"queue\": { \"every\": \"30s\", \"command\": [\"/bin/postqueue\", \"-j\"] },\n"
    "  \"exempt\": { \"recipients\": [\"root@*\"], \"clients\": [\"192.0.2.0/24\"], \"senders\": "
    "[\"@example.net\"],\n"
    "    \"authenticated\": true },\n"
    "  \"limits\": [\n"
    "    { \"name\": \"day\", \"per\": \"recipient\", \"max\": 500, \"window\": \"1d\", \"over\": "
    "\"reject\",\n"
    "      \"reply\": \"550 5.7.1 enough\", \"hold\": \"2d\", \"shadow\": true },\n"
    "    { \"name\": \"bytes\", \"per\": [\"recipient\", \"sender_domain\"], \"max\": \"10MB\", \"window\": "
    "\"1h\",\n"
    "      \"count\": \"bytes\", \"over\": \"discard\", \"share\": { \"of\": \"client\", \"max\": \"33%\", "
    "\"above\": "
    "\"50%\" } },\n"
    "    { \"name\": \"tries\", \"per\": \"client\", \"max\": 600, \"window\": \"1m\", \"count\": "
    "\"attempts\", \"over\": "
    "\"reject\",\n"
    "      \"when\": { \"class\": \"free\", \"recipient_domain\": [\"Example.COM\"], \"sender_domain\": "
    "\"example.net\",\n"
    "        \"client\": [\"198.51.100.0/24\"], \"null_sender\": false, \"authenticated\": false, "
    "\"catch_all\": false,\n"
    "        \"unknown\": true } }\n"
    "  ],\n"
    "  \"replies\": { \"unknown\": \"550 5.1.1 u\", \"alias_reject\": \"550 5.2.1 ar\", \"alias_defer\": "
    "\"450 4.2.1 ad\",\n"
    "    \"sender_reject\": \"550 5.7.1 sr\", \"sender_defer\": \"450 4.7.1 sd\", \"client_reject\": \"554 "
    "5.7.1 cr\",\n"
    "    \"client_defer\": \"450 4.7.1 cd\", \"over_defer\": \"450 4.2.1 od\", \"over_reject\": \"550 5.7.1 "
    "or\",\n"
    "    \"bytes_defer\": \"452 4.2.2 bd\", \"bytes_reject\": \"552 5.2.2 br\", \"backend\": \"451 4.3.0 "
    "b\",\n"
    "    \"ramp\": \"451 4.3.2 r\", \"invalid\": \"553 5.1.3 i\" }\n"
    "}\n";

static const struct policy *load(const char *json, struct problems *problems)
{
    return config_load(json, strlen(json), problems);
}

static char *read_file(const char *name, size_t *n)
{
    char path[1000];
    snprintf(path, sizeof path, "%s/policy/%s", SOURCE_DIR, name);
    FILE *file = fopen(path, "r");
    char *text = malloc(1 << 20);
    assert_non_null(file);
    assert_non_null(text);
    *n = fread(text, 1, (1 << 20) - 1, file);
    text[*n] = '\0';
    assert_true(*n > 100);
    fclose(file);
    return text;
}

static void print_problems(const struct problems *problems)
{
    for (size_t i = 0; i < problems->n; i++)
        print_message("  kind %d, line %d, \"%s\": %s [%s]\n", problems->at[i].kind, problems->at[i].line,
                      problems->at[i].pointer, problems->at[i].text, problems->at[i].instead);
}

/* ---- problems, one by one ---- */

static const struct {
    const char *json, *pointer;
    int line;
    enum problem_kind kind;
    const char *text;
} one_problem[] = {
    {"", "", 1, PROBLEM_FATAL, "line 1, column 0"},
    {"{\n\"mode\" 1}", "", 2, PROBLEM_FATAL, "line 2, column 8"},
    {"[]", "", 1, PROBLEM_FATAL, "a policy is an object"},
    {"5", "", 1, PROBLEM_FATAL, "not JSON"},
    {"{} {}", "", 1, PROBLEM_FATAL, "not JSON"},
    {"{\"a\":\"\\u0000\"}", "", 1, PROBLEM_FATAL, "u0000"},
    {"{\"a\":\"\xff\"}", "", 1, PROBLEM_FATAL, "0xff"},
    {"\xef\xbb\xbf{}", "", 1, PROBLEM_FATAL, "byte order mark"},
    {"{\n\n \"mdoe\": \"enforce\"}", "/mdoe", 3, PROBLEM_SKIPPED, "did you mean \"mode\""},
    {"{\"a/b~c\": 1}", "/a~1b~0c", 1, PROBLEM_SKIPPED, "unknown key; comments"},
    {LIMIT(ASKS ",\"where\":{}"), "/limits/0/where", 1, PROBLEM_SKIPPED, "did you mean \"when\"?"},
    {"{\"limits/*/max\": 1}", "/limits~1*~1max", 1, PROBLEM_SKIPPED, "unknown key"},
    {"{\"mode\": \"on\"}", "/mode", 1, PROBLEM_SKIPPED, "\"enforce\" or \"shadow\""},
    {"{\"mode\": \"shadwo\"}", "/mode", 1, PROBLEM_SKIPPED, "did you mean \"shadow\""},
    {"{\"mode\": 1,\n \"mode\": \"shadow\"}", "/mode", 1, PROBLEM_SKIPPED, "more than once"},
    {"{\"log\":{\"to\":\"syslog\",\"t\\u006f\":\"stderr\"}}", "/log/to", 1, PROBLEM_SKIPPED,
     "more than once"},
    {"{\"log\":{},\"log\":{}}", "/log", 1, PROBLEM_SKIPPED, "more than once"},
    {"{\"counters\":{\"timeout\":100}}", "/counters/timeout", 1, PROBLEM_SKIPPED, "duration in quotes"},
    {"{\"counters\":{\"timeout\":\"100\"}}", "/counters/timeout", 1, PROBLEM_SKIPPED, "no duration"},
    {"{\"counters\":{\"timeout\":\"1.5s\"}}", "/counters/timeout", 1, PROBLEM_SKIPPED, "no duration"},
    {"{\"counters\":{\"timeout\":\"-1s\"}}", "/counters/timeout", 1, PROBLEM_SKIPPED, "no duration"},
    {"{\"counters\":{\"timeout\":\"99999999999999999999s\"}}", "/counters/timeout", 1, PROBLEM_SKIPPED,
     "no duration"},
    {"{\"counters\":{\"timeout\":\"0ms\"}}", "/counters/timeout", 1, PROBLEM_SKIPPED, "from 1ms to 10s"},
    {"{\"counters\":{\"max_new_subjects\":1e999}}", "/counters/max_new_subjects", 1, PROBLEM_SKIPPED,
     "out of all bounds"},
    {"{\"counters\":{\"max_new_subjects\":99999999999999999999}}", "/counters/max_new_subjects", 1,
     PROBLEM_SKIPPED, "out of all bounds"},
    {"{\"counters\":{\"max_new_subjects\":1.0}}", "/counters/max_new_subjects", 1, PROBLEM_SKIPPED,
     "fraction"},
    {"{\"counters\":{\"max_new_subjects\":0}}", "/counters/max_new_subjects", 1, PROBLEM_SKIPPED,
     "from 1 to"},
    {"{\"counters\":{\"url\":\"http://x\"}}", "/counters/url", 1, PROBLEM_SKIPPED, "redis://"},
    {"{\"counters\":{\"url\":\"redis+cluster://x/1\"}}", "/counters/url", 1, PROBLEM_SKIPPED, "no databases"},
    {"{\"counters\":{\"url\":\"redis://a,b\"}}", "/counters/url", 1, PROBLEM_SKIPPED, "several hosts"},
    {"{\"counters\":{\"url\":\"redis+sentinel://a,b\"}}", "/counters/url", 1, PROBLEM_SKIPPED,
     "name that the"},
    {"{\"counters\":{\"prefix\":\"{a}\"}}", "/counters/prefix", 1, PROBLEM_SKIPPED, "letters, digits"},
    {"{\"counters\":{\"tls\":{\"ca\":\"/ca\"}}}", "/counters/tls", 1, PROBLEM_WARNING, "plain text"},
    {"{\"counters\":{\"url\":\"rediss://h\",\"tls\":{\"key\":\"/k\"}}}", "/counters/tls/key", 1,
     PROBLEM_WARNING, "counters.tls.cert"},
    {"{\"counters\":{\"url\":\"rediss://h\",\"tls\":{\"ca\":\"ca.pem\"}}}", "/counters/tls/ca", 1,
     PROBLEM_SKIPPED, "absolute path"},
    {"{\"counters\":{\"url\":\"rediss://h\",\"tls\":{\"name\":\"a b\"}}}", "/counters/tls/name", 1,
     PROBLEM_SKIPPED, "host name"},
    {"{\"counters\":{\"url\":\"rediss://h\",\"sentinel_password_file\":\"/s\"}}",
     "/counters/sentinel_password_file", 1, PROBLEM_WARNING, "no Sentinels"},
    {"{\"counters\":{\"url\":\"memory:\",\"url\":\"memory:\"}}", "/counters/url", 1, PROBLEM_SKIPPED,
     "more than once"},
    {"{\"counters\":{\"password_file\":\"/pw\"}}", "/counters/password_file", 1, PROBLEM_WARNING,
     "never read"},
    {"{\"counters\":{\"url\":\"redis://:pw@h\",\"password_file\":\"/pw\"}}", "/counters/password_file", 1,
     PROBLEM_WARNING, "on top of"},
    {"{\"counters\":{\"url\":\"redis://gate@h\"}}", "/counters/url", 1, PROBLEM_SKIPPED, "no password"},
    {"{\"milter\":{\"group\":\"no-such-group\"}}", "/milter/group", 1, PROBLEM_WARNING, "no group"},
    {"{\"milter\":{\"mode\":\"0666\"}}", "/milter/mode", 1, PROBLEM_WARNING, "every user"},
    {"{\"milter\":{\"mode\":\"0999\"}}", "/milter/mode", 1, PROBLEM_SKIPPED, "octal"},
    {"{\"milter\":{\"mode\":\"4755\"}}", "/milter/mode", 1, PROBLEM_SKIPPED, "octal"},
    {"{\"milter\":{\"socket\":\"inet:8893@0.0.0.0\"}}", "/milter/socket", 1, PROBLEM_WARNING, "outside"},
    {"{\"exempt\":{\"clients\":[\"::1\",\n\"192.0.2.1/24\",5]}}", "/exempt/clients/1", 2, PROBLEM_SKIPPED,
     "192.0.2.0/24"},
    {"{\"exempt\":{\"clients\":[\"0.0.0.0/0\"]}}", "/exempt/clients", 1, PROBLEM_WARNING, "wider"},
    {"{\"exempt\":{\"recipients\":[\"root\"]}}", "/exempt/recipients/0", 1, PROBLEM_SKIPPED, "has no domain"},
    {"{\"exempt\":{\"recipients\":[\"a*@example.com\"]}}", "/exempt/recipients/0", 1, PROBLEM_SKIPPED,
     "pattern"},
    {"{\"exempt\":{\"recipients\":[\"*@*\"]}}", "/exempt/recipients", 1, PROBLEM_WARNING, "every address"},
    {"{\"http\":{\"listen\":9627}}", "/http/listen", 1, PROBLEM_SKIPPED, "in quotes"},
    {"{\"http\":{\"listen\":\"127.0.0.1\"}}", "/http/listen", 1, PROBLEM_SKIPPED, "an address and a port"},
    {"{\"http\":{\"listen\":\"::1:80\"}}", "/http/listen", 1, PROBLEM_SKIPPED, "[::1]"},
    {"{\"http\":{\"listen\":\"mx.example.com:80\"}}", "/http/listen", 1, PROBLEM_SKIPPED, "an address"},
    {"{\"http\":{\"listen\":\"127.0.0.0/8:80\"}}", "/http/listen", 1, PROBLEM_SKIPPED, "an address"},
    {"{\"http\":{\"listen\":\"127.0.0.1:99999\"}}", "/http/listen", 1, PROBLEM_SKIPPED, "port"},
    {"{\"http\":{\"hosts\":\"gate.example.com\"}}", "/http/hosts", 1, PROBLEM_SKIPPED, "a list"},
    {"{\"http\":{\"hosts\":[\"gate.example.com\", 1]}}", "/http/hosts/1", 1, PROBLEM_SKIPPED, "in quotes"},
    {"{\"http\":{\"hosts\":[\"gate.example.com:80\"]}}", "/http/hosts/0", 1, PROBLEM_SKIPPED,
     "without scheme"},
    {"{\"http\":{\"hosts\":[\"http://gate.example.com\"]}}", "/http/hosts/0", 1, PROBLEM_SKIPPED,
     "without scheme"},
    {"{\"http\":{\"hosts\":[\"*\"]}}", "/http/hosts/0", 1, PROBLEM_SKIPPED, "without scheme"},
    {"{\"http\":{\"hosts\":[\"\"]}}", "/http/hosts/0", 1, PROBLEM_SKIPPED, "without scheme"},
    {"{\"maps\":{\"socket\":\"inet:8894@0.0.0.0\"}}", "/maps/socket", 1, PROBLEM_WARNING, "outside"},
    {"{\"maps\":{\"socket\":\"unix:/var/spool/postfix/rcptgate/milter.sock\"}}", "/maps/socket", 1,
     PROBLEM_WARNING, "of the milter too"},
    {"{\"maps\":{\"socket\":\"map.sock\"}}", "/maps/socket", 1, PROBLEM_SKIPPED, "unix:/path"},
    {"{\"aliases\":{\"role_mailbox\":\"a b@\"}}", "/aliases/role_mailbox", 1, PROBLEM_SKIPPED, "an address"},
    {"{\"aliases\":{\"role_mailbox\":7}}", "/aliases/role_mailbox", 1, PROBLEM_SKIPPED, "an address"},
    {"{\"http\":{\"listen\":\"0.0.0.0:9627\"}}", "/http/listen", 1, PROBLEM_WARNING, "outside"},
    {"{\"http\":{\"subjects\":1}}", "/http/subjects", 1, PROBLEM_SKIPPED, "true or false"},
    {"{\"replies\":{\"over_defer\":\"550 5.2.1 x\"}}", "/replies/over_defer", 1, PROBLEM_SKIPPED,
     "needs 4yz"},
    {"{\"replies\":{\"over_defer\":\"450 %{used}\"}}", "/replies/over_defer", 1, PROBLEM_WARNING, "shows"},
    {"{\"limits\":{}}", "/limits", 1, PROBLEM_SKIPPED, "a list of limits"},
    {"{\"limits\":[5]}", "/limits/0", 1, PROBLEM_SKIPPED, "an object"},
    {LIMIT("\"max\":\"10\",\"window\":\"1m\""), "/limits/0/max", 1, PROBLEM_SKIPPED, "without quotes"},
    {LIMIT("\"max\":\"10MB\",\"window\":\"1m\""), "/limits/0/max", 1, PROBLEM_SKIPPED, "\"bytes\""},
    {LIMIT("\"max\":-1,\"window\":\"1m\""), "/limits/0/max", 1, PROBLEM_SKIPPED, "from 0 to"},
    {LIMIT("\"max\":1000000000000001,\"window\":\"1m\""), "/limits/0/max", 1, PROBLEM_SKIPPED, "from 0 to"},
    {LIMIT("\"window\":\"1m\""), "/limits/0", 1, PROBLEM_SKIPPED, "has no \"max\""},
    {LIMIT("\"max\":1"), "/limits/0", 1, PROBLEM_SKIPPED, "has no \"window\""},
    {LIMIT("\"max\":1,\"window\":\"32d\""), "/limits/0/window", 1, PROBLEM_SKIPPED, "from 1s to 31d"},
    {LIMIT("\"max\":1,\"window\":\"999ms\""), "/limits/0/window", 1, PROBLEM_SKIPPED, "from 1s to 31d"},
    {LIMIT("\"max\":0,\"window\":\"1m\""), "/limits/0/max", 1, PROBLEM_WARNING, "refuses everything"},
    {LIMIT(ASKS ",\"hodl\":\"1m\""), "/limits/0/hodl", 1, PROBLEM_SKIPPED, "did you mean \"hold\""},
    {LIMIT(ASKS ",\"hold\":\"1m\""), "/limits/0/hold", 1, PROBLEM_WARNING, "share addresses"},
    {LIMIT(ASKS ",\"shadow\":\"true\""), "/limits/0/shadow", 1, PROBLEM_SKIPPED, "without quotes"},
    {LIMIT(ASKS ",\"reply\":\"450 x\""), "/limits/0/reply", 1, PROBLEM_SKIPPED, "needs 5yz"},
    {LIMIT(ASKS ",\"reply\":5"), "/limits/0/reply", 1, PROBLEM_SKIPPED, "a reply in quotes"},
    {LIMIT(ASKS ",\"reply\":\"550 5.7.1 %{max}\""), "/limits/0/reply", 1, PROBLEM_WARNING, "shows"},
    {LIMIT(ASKS ",\"when\":{\"clas\":\"a\"}"), "/limits/0/when/clas", 1, PROBLEM_SKIPPED,
     "did you mean \"class\""},
    {LIMIT(ASKS ",\"when\":{\"class\":[]}"), "/limits/0/when/class", 1, PROBLEM_SKIPPED, "empty list"},
    {LIMIT(ASKS ",\"when\":{\"class\":[\"a\",1]}"), "/limits/0/when/class/1", 1, PROBLEM_SKIPPED,
     "name of a class"},
    {LIMIT(ASKS ",\"when\":{\"recipient_domain\":\"a b\"}"), "/limits/0/when/recipient_domain", 1,
     PROBLEM_SKIPPED, ""},
    {LIMIT(ASKS ",\"when\":{\"unknown\":true,\"catch_all\":true}"), "/limits/0", 1, PROBLEM_WARNING,
     "never acts"},
    {LIMIT(ASKS ",\"when\":{\"class\":\"free\"}"), "/limits/0", 1, PROBLEM_WARNING, "without \"aliases\""},
    {"{\"limits\":[{\"name\":\"a\",\"per\":\"mailbox\",\"max\":1,\"window\":\"1m\"}]}", "/limits/0", 1,
     PROBLEM_WARNING, "without \"aliases\""},
    {LIMIT(ASKS ",\"when\":{\"client\":[\"127.0.0.1\",\"::1\"]}"), "/limits/0", 1, PROBLEM_WARNING,
     "in exempt.clients"},
    {"{\"limits\":[{\"name\":\"a\",\"per\":\"sender\",\"max\":5,\"window\":\"1h\",\"over\":\"reject\"},\n"
     "{\"name\":\"b\",\"per\":[\"sender\",\"client\"],\"max\":6,\"window\":\"1m\",\"over\":\"reject\"}]}",
     "/limits/1", 2, PROBLEM_WARNING, "is full before it"},
    {LIMIT(ASKS ",\"share\":{\"of\":\"sender\"}"), "/limits/0/share", 1, PROBLEM_SKIPPED, "needs both"},
    {LIMIT(ASKS ",\"share\":{\"of\":\"owner\",\"max\":\"1%\"}"), "/limits/0/share/of", 1, PROBLEM_SKIPPED,
     "\"client\", "},
    {LIMIT(ASKS ",\"share\":{\"of\":\"sender\",\"max\":33}"), "/limits/0/share/max", 1, PROBLEM_SKIPPED,
     "\"33%\""},
    {LIMIT(ASKS ",\"share\":{\"of\":\"client\",\"max\":\"9%\"}"), "/limits/0/share", 1, PROBLEM_SKIPPED,
     "another \"of\""},
    {LIMIT(ASKS ",\"name\":\"y\""), "/limits/0/name", 1, PROBLEM_SKIPPED, "more than once"},
    {"{\"limits\":[{\"name\":\"A\",\"per\":\"all\",\"max\":1,\"window\":\"1m\",\"over\":\"reject\"}]}",
     "/limits/0/name", 1, PROBLEM_SKIPPED, "a-z"},
    {"{\"limits\":[{\"name\":\"a\",\"per\":[],\"max\":1,\"window\":\"1m\"}]}", "/limits/0/per", 1,
     PROBLEM_SKIPPED, "one or a"},
    {"{\"limits\":[{\"name\":\"a\",\"per\":[\"user\",\"user\"],\"max\":1,\"window\":\"1m\"}]}",
     "/limits/0/per/1", 1, PROBLEM_SKIPPED, "twice"},
    {"{\"limits\":[{\"name\":\"a\",\"per\":\"all\",\"max\":1,\"window\":\"1m\",\"over\":\"reject\"}]}",
     "/limits/0/per", 1, PROBLEM_WARNING, "memory:"},
    {"{\"limits\":[{\"name\":\"a\",\"per\":\"sender\",\"max\":1,\"window\":\"1m\"}]}", "/limits/0", 1,
     PROBLEM_WARNING, "nothing ends a flood"},
    {"{\"limits\":[{\"name\":\"a\",\"per\":\"sender\",\"max\":1,\"window\":\"1m\",\"over\":\"discard\","
     "\"reply\":\"250 x\"}]}",
     "/limits/0/reply", 1, PROBLEM_SKIPPED, "only defer and reject"},
    {"{\"limits\":[{\"name\":\"a\",\"per\":\"host\",\"max\":1,\"count\":\"backlog\",\"over\":\"reject\"}]}",
     "/limits/0", 1, PROBLEM_WARNING, "while mail waits here"},
    {"{\"limits\":[{\"name\":\"a\",\"per\":\"host\",\"max\":1,\"count\":\"backlog\",\"hold\":\"1m\"}]}",
     "/limits/0/hold", 1, PROBLEM_SKIPPED, "has no meaning"},
    {"{\"limits\":[{\"name\":\"a\",\"per\":\"host\",\"max\":1,\"count\":\"backlog\","
     "\"share\":{\"of\":\"client\",\"max\":\"9%\"}}]}",
     "/limits/0/share", 1, PROBLEM_SKIPPED, "does not tell who"},
    {"{\"limits\":[{\"name\":\"a\",\"per\":\"host\",\"max\":1,\"count\":\"backlog\",\"window\":\"1m\"}]}",
     "/limits/0/window", 1, PROBLEM_SKIPPED, "no meaning"},
    {"{\"limits\":[{\"name\":\"a\",\"per\":\"owner\",\"max\":1,\"count\":\"backlog\"}]}", "/limits/0/per", 1,
     PROBLEM_SKIPPED, "the queue shows"},
    {"{\"limits\":[{\"name\":\"a\",\"per\":\"host\",\"max\":1,\"window\":\"1m\",\"when\":{\"unknown\":true}}]"
     "}",
     "/limits/0/when/unknown", 1, PROBLEM_SKIPPED, "attempts"},
    {"{\"state\":\"/"
     "234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234"
     "5\"}",
     "/state", 1, PROBLEM_SKIPPED, "at most 94 bytes"},
};

static void test_one_problem(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof one_problem / sizeof one_problem[0]; i++) {
        struct problems problems = {0};
        const struct policy *policy = load(one_problem[i].json, &problems);
        const struct problem *got = problems.at;
        bool right = problems.n >= 1 && got->kind == one_problem[i].kind &&
                     got->line == one_problem[i].line && strcmp(got->pointer, one_problem[i].pointer) == 0 &&
                     strstr(got->text, one_problem[i].text) != NULL;
        if (!right || (policy == NULL) != (one_problem[i].kind == PROBLEM_FATAL)) {
            print_problems(&problems);
            fail_msg("row %zu: %s", i, one_problem[i].json);
        }
        if (strstr(one_problem[i].json, "5]}}") == NULL)
            assert_int_equal(problems.n, 1);
        assert_int_equal(problems_status(&problems), got->kind == PROBLEM_FATAL     ? 78
                                                     : got->kind == PROBLEM_WARNING ? 0
                                                                                    : 1);
        policy_unref(policy);
        problems_done(&problems);
    }
}

/* What does not tell a limit how much mail it meets leaves it in force; all else does not, since it might have spared some. */
static void test_what_skips_a_limit(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        size_t n;
    } rows[] = {
        {LIMIT(ASKS), 1},
        {LIMIT(ASKS ",\"hodl\":1"), 1},
        {LIMIT(ASKS ",\"where\":{\"class\":\"free\"}"), 0}, /* "when", and not "share" */
        {LIMIT(ASKS ",\"role\":1"), 0},                     /* as near to "hold" as two slips are */
        {LIMIT(ASKS ",\"enabled\":false"), 0},
        {LIMIT(ASKS ",\"only-for\":\"free\""), 0},
        {LIMIT(ASKS ",\"_comment\":\"x\",\"$note\":1"), 1},
        {"{\"limits\":[{\"name\":\"a\",\"per\":\"host\",\"max\":1,\"window\":\"1m\",\"ovr\":\"reject\"}]}",
         1},
        {LIMIT(ASKS ",\"ovr\":1"), 0}, /* beside "over": which one is meant? */
        {LIMIT(ASKS ",\"holdd\":1,\"rmap\":1,\"shar\":1,\"reeply\":1"), 1},
        {LIMIT(ASKS ",\"shadw\":true"), 0}, /* would be refused by it */
        {LIMIT(ASKS ",\"wen\":{}"), 0},
        {LIMIT(ASKS ",\"share\":{\"of\":\"sender\",\"max\":\"9%\",\"abov\":\"50%\"}"), 0},
        {"{\"limits\":[{\"name\":\"a\",\"per\":\"host\",\"max\":1,\"windw\":\"1m\"}]}", 0},
        {"{\"limits\":[{\"name\":\"a\",\"per\":\"host\",\"max\":1,\"window\":\"1m\",\"coutn\":\"bytes\"}]}",
         0},
        {"{\"limts\":[{\"name\":\"a\",\"per\":\"host\",\"max\":1,\"window\":\"1m\"}]}", 0},
        {LIMIT(ASKS ",\"reply\":\"450 x\""), 1},
        {LIMIT(ASKS ",\"ramp\":\"1m\""), 1},
        {LIMIT(ASKS ",\"share\":{\"of\":\"client\",\"max\":\"9%\"}"), 1},
        {LIMIT(ASKS ",\"share\":{\"of\":\"sender\",\"max\":\"9%\",\"x\":1}"), 0},
        {LIMIT(ASKS ",\"when\":{\"_x\":1}"), 1},
        {LIMIT(ASKS ",\"when\":{\"x\":1}"), 0},
        {LIMIT(ASKS ",\"hold\":1"), 0},
        {LIMIT(ASKS ",\"hold\":\"1m\",\"hold\":\"1m\""), 0},
        {LIMIT(ASKS ",\"share\":{\"of\":\"sender\",\"max\":9}"), 0},
        {LIMIT(ASKS ",\"shadow\":1"), 0},
        {LIMIT(ASKS ",\"over\":\"rejct\""), 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct problems problems = {0};
        const struct policy *policy = load(rows[i].json, &problems);
        assert_non_null(policy);
        if (policy->n_limits != rows[i].n)
            fail_msg("%s: %zu limits", rows[i].json, policy->n_limits);
        policy_unref(policy);
        problems_done(&problems);
    }
}

static void test_second_name(void **state)
{
    (void)state;
    struct problems problems = {0};
    const struct policy *policy =
        load("{\"limits\":[\n"
             "{\"name\":\"a\",\"per\":\"client\",\"max\":1,\"window\":\"1m\",\"over\":\"reject\"},\n"
             "{\"name\":\"a\",\"per\":\"client\",\"max\":2,\"window\":\"1m\",\"over\":\"reject\"},\n"
             "{\"name\":\"b\",\"per\":\"client\",\"max\":3,\"window\":\"10m\",\"over\":\"reject\"}]}",
             &problems);
    assert_int_equal(policy->n_limits, 2);
    assert_int_equal(policy->limits[0].max, 1);
    assert_int_equal(policy->limits[1].max, 3);
    assert_int_equal(problems.n, 1);
    assert_string_equal(problems.at[0].pointer, "/limits/1/name");
    assert_int_equal(problems.at[0].line, 3);
    assert_non_null(strstr(problems.at[0].instead, "limit \"a\" is skipped"));
    policy_unref(policy);
    problems_done(&problems);
}

/* ---- a policy as text, a line per key, so that two can be compared ---- */

static void add_patterns(struct text *out, const char *pointer, const struct patterns *patterns)
{
    text_addf(out, "%s", pointer);
    for (size_t i = 0; i < patterns->n; i++)
        text_addf(out, " %s@%s", patterns->at[i].local != NULL ? patterns->at[i].local : "*",
                  patterns->at[i].domain != NULL ? patterns->at[i].domain : "*");
    text_add(out, "\n");
}

static void add_networks(struct text *out, const struct networks *networks)
{
    char buffer[NETWORK_TEXT];
    for (size_t i = 0; i < networks->n; i++)
        text_addf(out, " %s", network_format(&networks->at[i], buffer));
}

static void add_strings(struct text *out, const struct strings *strings)
{
    for (size_t i = 0; i < strings->n; i++)
        text_addf(out, " %s", strings->at[i]);
}

static const char *or_none(const char *string)
{
    return string != NULL ? string : "-";
}

static void add_limit(struct text *out, const struct limit *limit, bool with_ttl)
{
    text_addf(out, "limit %s %s %lld %lld %d %d [%s %s %s] %lld %d", limit->name, limit->per_name,
              (long long)limit->max, (long long)limit->window_ms, limit->count, limit->over,
              limit->reply.code, limit->reply.dsn, limit->reply.text, (long long)limit->hold_ms,
              limit->shadow);
    text_addf(out, " share %d %d %lld %lld %s when", limit->share.set, limit->share.of,
              (long long)limit->share.max, (long long)limit->share.above, or_none(limit->share.per));
    add_strings(out, &limit->when.class_name);
    add_strings(out, &limit->when.recipient_domain);
    add_strings(out, &limit->when.sender_domain);
    add_networks(out, &limit->when.client);
    text_addf(out, " %d%d%d%d", limit->when.null_sender, limit->when.authenticated, limit->when.catch_all,
              limit->when.unknown);
    if (with_ttl)
        text_addf(out, " ttl %lld", (long long)limit->ttl_ms);
    text_add(out, "\n");
}

enum { DESCRIPTION = 16384 };

static void describe(const struct policy *policy, bool with_ttl, char buffer[DESCRIPTION])
{
    const struct counters_config *counters = &policy->counters;
    struct text out;
    text_init(&out, buffer, DESCRIPTION);
    text_addf(&out, "/mode %d\n/milter/socket %s\n/milter/group %s\n/milter/mode %o\n/state %s\n",
              policy->shadow, policy->milter.socket, or_none(policy->milter.group), policy->milter.mode,
              policy->state);
    text_addf(
        &out,
        "/aliases/database %s\n/aliases/subaddress %s\n/aliases/max_stale %lld\n/aliases/max_shrink %d\n"
        "/aliases/conceal %d\n",
        or_none(policy->aliases.database), policy->aliases.subaddress,
        (long long)policy->aliases.max_stale_ms, policy->aliases.max_shrink, policy->aliases.conceal);
    const struct redis_config *redis = &counters->redis;
    char name[200];
    text_addf(&out, "/counters/url %d%s %s %d %s %s %s\n", counters->kind, redis->tls ? " tls" : "",
              redis->path != NULL || redis->n_addresses > 0 ? redis_config_name(redis, name, sizeof name)
                                                            : "-",
              redis->db, or_none(redis->user), or_none(redis->password), or_none(counters->url));
    text_addf(&out, "/counters/sentinel_password_file %s\n/counters/tls %s %s %s %s\n",
              or_none(redis->sentinel_password_file), or_none(redis->tls_ca), or_none(redis->tls_cert),
              or_none(redis->tls_key), or_none(redis->tls_name));
    text_addf(
        &out,
        "/counters/password_file %s\n/counters/prefix %s\n/counters/timeout %lld\n/counters/when_down %d\n",
        or_none(counters->redis.password_file), counters->redis.prefix, (long long)counters->redis.timeout_ms,
        counters->when_down);
    text_addf(
        &out,
        "/counters/local_share %d\n/counters/client_network/ipv4 %u\n/counters/client_network/ipv6 %u\n",
        counters->local_share, counters->ipv4_bits, counters->ipv6_bits);
    text_addf(&out, "/http/listen %s %d\n/http/subjects %d\n", policy->http.host, policy->http.port,
              policy->http.subjects);
    text_add(&out, "/http/hosts");
    add_strings(&out, &policy->http.hosts);
    text_addf(&out, "\n/counters/max_new_subjects %lld\n/log/to %d\n/log/level %d\n",
              (long long)counters->max_new_subjects, policy->log.to_stderr, policy->log.level);
    add_patterns(&out, "/exempt/recipients", &policy->exempt.recipients);
    add_patterns(&out, "/exempt/senders", &policy->exempt.senders);
    text_add(&out, "/exempt/clients");
    add_networks(&out, &policy->exempt.clients);
    text_addf(&out, "\n/exempt/authenticated %d\n", policy->exempt.authenticated);
    for (int i = 0; i < REPLY_KEYS; i++)
        text_addf(&out, "/replies/%s %s %s %s\n", reply_key_name((enum reply_key)i), policy->replies[i].code,
                  policy->replies[i].dsn, policy->replies[i].text);
    for (size_t i = 0; i < policy->n_limits; i++)
        add_limit(&out, &policy->limits[i], with_ttl);
    assert_false(out.cut);
}

static void check_description(const char *json, const char *const *lines)
{
    struct problems problems = {0};
    char got[DESCRIPTION];
    const struct policy *policy = load(json, &problems);
    assert_non_null(policy);
    describe(policy, true, got);
    for (; *lines != NULL; lines++) {
        char line[1000];
        snprintf(line, sizeof line, "%s\n", *lines);
        const char *at = strstr(got, line);
        if (at == NULL || (at != got && at[-1] != '\n'))
            fail_msg("no line \"%s\" in\n%s", *lines, got);
    }
    policy_unref(policy);
    problems_done(&problems);
}

static void test_defaults(void **state)
{
    (void)state;
    const char *const lines[] = {
        "/mode 0",
        "/milter/socket unix:/var/spool/postfix/rcptgate/milter.sock",
        "/milter/group postfix",
        "/milter/mode 660",
        "/state /var/lib/rcptgate",
        "/aliases/database -",
        "/aliases/subaddress +",
        "/aliases/max_stale 86400000",
        "/aliases/max_shrink 50",
        "/aliases/conceal 0",
        "/counters/url 0 - 0 - - memory:",
        "/counters/password_file -",
        "/counters/prefix rcptgate",
        "/counters/timeout 100",
        "/counters/when_down 0",
        "/counters/local_share 100",
        "/http/listen 127.0.0.1 9627",
        "/http/subjects 0",
        "/counters/client_network/ipv4 32",
        "/counters/client_network/ipv6 64",
        "/counters/max_new_subjects 1000",
        "/log/to 0",
        "/log/level 2",
        "/exempt/recipients postmaster@* abuse@*",
        "/exempt/senders",
        "/exempt/clients 127.0.0.0/8 ::1",
        "/exempt/authenticated 0",
        "/replies/over_defer 450 4.2.1 <%{recipient}>: receiving mail too fast, try again in %{wait}",
        NULL,
    };
    const char *const with_section[] = {"/aliases/database /var/lib/rcptgate/aliases/aliases.db", NULL};
    check_description("{}", lines);
    check_description("{\"aliases\":{}}", with_section);
}

/* No good version before: a mistake refuses nothing that the file would let through. */
static void test_mistakes_refuse_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *json, *line;
    } rows[] = {
        {"{\"mode\":\"shadwo\"}", "/mode 1"},
        {"{\"mode\":5}", "/mode 1"},
        {"{\"mode\":\"enforce\",\"mode\":\"enforce\"}", "/mode 1"},
        {"{\"mdoe\":\"enforce\"}", "/mode 1"},
        {"{\"mode\":\"enforce\",\"mdoe\":\"shadow\"}", "/mode 0"}, /* what is spelled right counts */
        {"{\"$mdoe\":\"shadow\",\"_mode\":1}", "/mode 0"},
        {"{\"alises\":{}}", "/aliases/database -"},
        {"{\"aliases\":\"x\"}", "/aliases/database -"},
        {"{\"aliases\":{},\"aliases\":{}}", "/aliases/database -"},
        {"{\"aliases\":{\"databse\":\"/x\"}}", "/aliases/database -"},
        {"{\"aliases\":{\"database\":5}}", "/aliases/database -"},
        {"{\"aliases\":{\"database\":\"/x\",\"subadress\":\"+-\"}}", "/aliases/subaddress +-"},
        {"{\"aliases\":{\"database\":\"/x\",\"subadress\":5}}", "/aliases/subaddress +"},
        {"{\"conters\":{\"url\":\"redis://h\"}}", "/counters/url 1 h:6379 0 - - redis://h"},
        {"{\"counters\":{\"wen_down\":\"accept\"}}", "/counters/when_down 2"},
        {"{\"exemt\":{\"clients\":[\"192.0.2.0/24\"]}}", "/exempt/clients 192.0.2.0/24"},
        {"{\"exempt\":{\"client\":[\"192.0.2.0/24\"]}}", "/exempt/clients 192.0.2.0/24"},
        {"{\"milter\":{\"sokcet\":\"unix:/x\"}}", "/milter/socket unix:/x"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *const lines[] = {rows[i].line, NULL};
        check_description(rows[i].json, lines);
    }
}

static void test_values(void **state)
{
    (void)state;
    const char *const lines[] = {
        "/mode 1",
        "/milter/socket unix:/run/x.sock",
        "/milter/group mail",
        "/milter/mode 600",
        "/aliases/database /db",
        "/aliases/subaddress +-",
        "/aliases/max_stale 7200000",
        "/aliases/max_shrink 20",
        "/aliases/conceal 1",
        "/counters/url 1 127.0.0.1:6380 2 - - redis://127.0.0.1:6380/2",
        "/counters/password_file /pw",
        "/counters/timeout 50",
        "/counters/when_down 1",
        "/counters/local_share 25",
        "/counters/client_network/ipv4 24",
        "/counters/max_new_subjects 7",
        "/log/to 1",
        "/log/level 3",
        "/exempt/recipients root@*",
        "/exempt/senders *@example.net",
        "/exempt/clients 192.0.2.0/24",
        "/exempt/authenticated 1",
        "/replies/ramp 451 4.3.2 r",
        "limit day recipient 500 86400000 0 4 [550 5.7.1 enough] 172800000 1 share 0 0 0 0 - when 0000 ttl "
        "172801000",
        "limit bytes recipient+sender_domain 10000000 3600000 2 3 [  ] 0 0 share 1 7 3300000 5000000 "
        "recipient+sender_domain+client when 0000 ttl 3961000",
        "limit tries client 600 60000 3 4 [  ] 0 0 share 0 0 0 0 - when free example.com example.net "
        "198.51.100.0/24 "
        "1112 ttl 67000",
        NULL,
    };
    check_description(example, lines);
    struct problems problems = {0};
    const struct policy *policy = load(example, &problems);
    assert_true(policy->needs_bytes);
    assert_true(policy->needs_attempts);
    assert_int_equal(problems.n, 0);
    assert_int_equal(policy->backlog_pers, 0);
    assert_int_equal(policy->queue.every_ms, 30000);
    assert_string_equal(policy->queue.command[0], "/bin/postqueue");
    assert_string_equal(policy->queue.command[1], "-j");
    assert_null(policy->queue.command[2]);
    policy_unref(policy);
    problems_done(&problems);
}

/* Limits and shares that live in one key keep it for as long as the longest needs it. */
static void test_ttl_and_share(void **state)
{
    (void)state;
    static const char json[] =
        "{\"limits\":["
        "{\"name\":\"a\",\"per\":\"mailbox\",\"max\":12,\"window\":\"1h\",\"share\":{\"of\":\"client\","
        "\"max\":\"33%\"}},"
        "{\"name\":\"b\",\"per\":[\"mailbox\",\"client\"],\"max\":1,\"window\":\"1d\"},"
        "{\"name\":\"c\",\"per\":[\"client\",\"mailbox\"],\"max\":\"1KiB\",\"count\":\"bytes\",\"window\":"
        "\"1s\"},"
        "{\"name\":\"d\",\"per\":\"mailbox\",\"max\":1,\"window\":\"1s\",\"share\":{\"of\":\"sender\","
        "\"max\":\"1%\",\"above\":"
        "\"50%\"}}]}";
    const char *const lines[] = {
        "limit a mailbox 12 3600000 0 2 [  ] 0 0 share 1 7 4 0 mailbox+client when 0000 ttl 95041000",
        "limit b mailbox+client 1 86400000 0 2 [  ] 0 0 share 0 0 0 0 - when 0000 ttl 95041000",
        "limit c client+mailbox 1024 1000 2 2 [  ] 0 0 share 0 0 0 0 - when 0000 ttl 2100",
        "limit d mailbox 1 1000 0 2 [  ] 0 0 share 1 5 1 1 mailbox+sender when 0000 ttl 3961000",
        NULL,
    };
    check_description(json, lines);
}

static void test_urls(void **state)
{
    (void)state;
    static const struct {
        const char *url, *want; /* NULL: bad */
    } rows[] = {
        {"memory:", "0 - 0 - -"},
        {"redis://h", "1 h:6379 0 - -"},
        {"redis://h/", "1 h:6379 0 - -"},
        {"redis://h:1/15", "1 h:1 15 - -"},
        {"redis://[2001:db8::1]", "1 [2001:db8::1]:6379 0 - -"},
        {"redis://u:p@[::1]:7/3", "1 [::1]:7 3 u p"},
        {"redis://:p@h", "1 h:6379 0 - p"},
        {"redis://u%40:p%2f%25:@h", "1 h:6379 0 u@ p/%:"},
        {"redis://u:p@q@h", "1 h:6379 0 u p@q"},
        {"unix:///run/r.sock", "2 /run/r.sock 0 - -"},
        {"unix:///run/r%20s?db=9", "2 /run/r s 9 - -"},
        {"rediss://h", "1 tls h:6379 0 - -"},
        {"rediss://u:p@h:1/2", "1 tls h:1 2 u p"},
        {"redis+sentinel://a,b:1,[::1]/m", "1 m of the Sentinels a:26379, b:1, [::1]:26379 0 - -"},
        {"rediss+sentinel://u:p@a/my-master_1.x/3", "1 tls my-master_1.x of the Sentinels a:26379 3 u p"},
        {"redis+sentinel://:p@a/m/", "1 m of the Sentinels a:26379 0 - p"},
        {"redis+cluster://u:p@h,i:7000", "1 the cluster of h:6379, i:7000 0 u p"},
        {"rediss+cluster://h", "1 tls the cluster of h:6379 0 - -"},
        {"", NULL},
        {"memory", NULL},
        {"redis:", NULL},
        {"redis://", NULL},
        {"redis:///1", NULL},
        {"redis://:s3cret@", NULL},
        {"redis://s3cret@h", NULL},
        {"redis://u:s3cret%@h", NULL},
        {"redis://u:s3cret%0g@h", NULL},
        {"redis://u:s3cret%00@h", NULL},
        {"redis://u:s3cret/x@h", NULL},
        {"redis://u:s3cret@h:0", NULL},
        {"redis://u:s3cret@h:65536", NULL},
        {"redis://u:s3cret@h:", NULL},
        {"redis://u:s3cret@::1", NULL},
        {"redis://u:s3cret@[::1", NULL},
        {"redis://u:s3cret@[::1]x", NULL},
        {"redis://u:s3cret@h/x", NULL},
        {"redis://u:s3cret@h/1?x", NULL},
        {"redis://u:s3cret@h?db=1", NULL},
        {"unix://run/s3cret", NULL},
        {"unix:///run/s3cret?x", NULL},
        {"redis://u:s3cret@h,i", NULL},
        {"rediss://", NULL},
        {"rediss://u:s3cret@", NULL},
        {"redis+sentinel://:s3cret@h", NULL},
        {"redis+sentinel://:s3cret@h/", NULL},
        {"redis+sentinel://:s3cret@h/m/x", NULL},
        {"redis+sentinel://:s3cret@h/m!", NULL},
        {"redis+sentinel://:s3cret@h,/m", NULL},
        {"redis+sentinel://:s3cret@,h/m", NULL},
        {"redis+sentinel://:s3cret@h:0,i/m", NULL},
        {"redis+cluster://:s3cret@h,i/0", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct problems problems = {0};
        char json[300], got[DESCRIPTION], want[400];
        snprintf(json, sizeof json, "{\"counters\":{\"url\":\"%s\"}}", rows[i].url);
        const struct policy *policy = load(json, &problems);
        assert_non_null(policy);
        describe(policy, true, got);
        snprintf(want, sizeof want, "/counters/url %s %s\n",
                 rows[i].want != NULL ? rows[i].want : "3 - 0 - -", rows[i].want != NULL ? rows[i].url : "");
        if (strstr(got, want) == NULL)
            fail_msg("%s: no \"%s\" in\n%s", rows[i].url, want, got);
        assert_int_equal(problems.n, rows[i].want == NULL);
        if (problems.n > 0) {
            assert_null(strstr(problems.at[0].text, "s3cret"));
            assert_non_null(strstr(problems.at[0].instead, "when_down"));
        }
        policy_unref(policy);
        problems_done(&problems);
    }
}

static void test_user_with_a_password_file(void **state)
{
    (void)state;
    struct problems problems = {0};
    const struct policy *policy = load(
        "{\"counters\":{\"url\":\"redis+cluster://gate%20x@h,i\",\"password_file\":\"/pw\"}}", &problems);
    assert_int_equal(problems.n, 0);
    assert_string_equal(policy->counters.redis.user, "gate x");
    assert_null(policy->counters.redis.password);
    policy_unref(policy);
    problems_done(&problems);
}

static void test_syntax_error_tells_no_secret(void **state)
{
    (void)state;
    static const char *const files[] = {"{\"url\": \"redis://:s3cret@h\n\"}", "{\"url\": \"s3cret\" \"b\"}",
                                        "{\"s3cret\"}", "{\"a\": s3cret}", "{\"a\": \"s3cret"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct problems problems = {0};
        assert_null(load(files[i], &problems));
        assert_int_equal(problems.n, 1);
        assert_null(strstr(problems.at[0].text, "s3cret"));
        problems_done(&problems);
    }
}

static void test_sockets(void **state)
{
    (void)state;
    static const struct {
        const char *socket;
        bool good;
    } rows[] = {
        {"unix:/a", true},
        {"inet:8893@127.0.0.1", true},
        {"inet:1@localhost", true},
        {"inet6:65535@::1", true},
        {"unix:a", false},
        {"unix:/", false},
        {"unix:", false},
        {"/a", false},
        {"local:/a", false},
        {"inet:8893", false},
        {"inet:0@h", false},
        {"inet:65536@h", false},
        {"inet:x@h", false},
        {"inet:1@", false},
        {"inet:1@a b", false},
        {"inet:+1@h", false},
        {"inet7:1@h", false},
        {"unix:/"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaaaaaaaaa",
         false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct problems problems = {0};
        char json[300];
        snprintf(json, sizeof json, "{\"milter\":{\"socket\":\"%s\"}}", rows[i].socket);
        const struct policy *policy = load(json, &problems);
        bool every_user = rows[i].good && strncmp(rows[i].socket, "inet", 4) == 0; /* a warning */
        if (problems.n != (size_t)(!rows[i].good || every_user))
            fail_msg("%s: %zu problems", rows[i].socket, problems.n);
        assert_string_equal(policy->milter.socket,
                            rows[i].good ? rows[i].socket : "unix:/var/spool/postfix/rcptgate/milter.sock");
        policy_unref(policy);
        problems_done(&problems);
    }
}

static void test_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *local, *domain;
        bool match;
    } rows[] = {
        {"Root@*", "root", "example.com", true},
        {"root@*", "root", "", true},
        {"root@*", "toor", "example.com", false},
        {"@Example.COM.", "a", "example.com", true},
        {"*@example.com", "a", "example.com", true},
        {"*@example.com", "a", "sub.example.com", false},
        {"a@example.com", "a", "example.com", true},
        {"a@example.com", "a", "example.net", false},
        {"postmaster", "postmaster", "", true},
        {"postmaster", "postmaster", "example.com", false},
        {"<>", "", "", true},
        {"<>", "a", "example.com", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct problems problems = {0};
        char json[300];
        snprintf(json, sizeof json, "{\"exempt\":{\"senders\":[\"%s\"]}}", rows[i].pattern);
        const struct policy *policy = load(json, &problems);
        if (problems.n != 0 ||
            policy_patterns_match(&policy->exempt.senders, rows[i].local, rows[i].domain) != rows[i].match)
            fail_msg("%s, %s, %s", rows[i].pattern, rows[i].local, rows[i].domain);
        policy_unref(policy);
        problems_done(&problems);
    }
}

/* ---- one wrong value anywhere ---- */

static json_t *wrong_value(const json_t *value)
{
    return json_is_string(value) ? json_integer(-12345) : json_string("!wrong!");
}

/* Lines of a that b has not, each of which must belong to the mutated pointer. */
static void check_rest(const char *before, const char *after, const char *pointer, const char *limit)
{
    char copy[DESCRIPTION], *rest = copy;
    snprintf(copy, sizeof copy, "%s", before);
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0';) {
        size_t n = strcspn(line, " "), m = strlen(pointer);
        bool own = (m <= n && strncmp(line, pointer, m) == 0) || (n <= m && strncmp(line, pointer, n) == 0);
        if (limit != NULL)
            own = strncmp(line, limit, strlen(limit)) == 0;
        else if (strcmp(pointer, "/limits") == 0)
            own = strncmp(line, "limit ", 6) == 0;
        if (!own && strstr(after, line) == NULL)
            fail_msg("a wrong value at %s changed \"%s\"; now\n%s", pointer, line, after);
    }
}

static void check_mutant(const json_t *root, const char *before, const char *pointer)
{
    struct problems problems = {0};
    char after[DESCRIPTION], limit[100] = "";
    char *json = json_dumps(root, 0);
    size_t skipped = 0, index = 0;
    const struct policy *policy = load(json, &problems);
    assert_non_null(policy);
    for (size_t i = 0; i < problems.n; i++) {
        if (problems.at[i].kind != PROBLEM_SKIPPED)
            continue;
        skipped++;
        if (strcmp(problems.at[i].pointer, pointer) != 0)
            fail_msg("a wrong value at %s was called one at %s", pointer, problems.at[i].pointer);
    }
    if (skipped != 1)
        fail_msg("a wrong value at %s made %zu problems", pointer, skipped);
    static const char *const names[] = {"limit day ", "limit bytes ", "limit tries "};
    if (sscanf(pointer, "/limits/%zu", &index) == 1)
        snprintf(limit, sizeof limit, "%s", names[index]);
    describe(policy, false, after);
    check_rest(before, after, pointer, limit[0] != '\0' ? limit : NULL);
    policy_unref(policy);
    problems_done(&problems);
    free(json);
}

static int mutants;

static void mutate(json_t *root, json_t *at, const char *pointer, const char *before)
{
    char deeper[300];
    const char *key;
    json_t *value;
    size_t i;
    void *next;
    json_object_foreach_safe(at, next, key, value)
    {
        json_t *kept = json_incref(value);
        snprintf(deeper, sizeof deeper, "%s/%s", pointer, key);
        mutate(root, value, deeper, before);
        json_object_set_new(at, key, wrong_value(kept));
        check_mutant(root, before, deeper);
        json_object_set_new(at, key, kept);
        mutants++;
    }
    json_array_foreach(at, i, value)
    {
        json_t *kept = json_incref(value);
        /* A command is one value: its problem is named as a whole. */
        bool whole = strcmp(pointer, "/queue/command") == 0;
        snprintf(deeper, sizeof deeper, "%s/%zu", pointer, i);
        mutate(root, value, deeper, before);
        json_array_set_new(at, i, wrong_value(kept));
        check_mutant(root, before, whole ? pointer : deeper);
        json_array_set_new(at, i, kept);
        mutants++;
    }
}

static void test_mutants(void **state)
{
    (void)state;
    struct problems problems = {0};
    char before[DESCRIPTION];
    const struct policy *policy = load(example, &problems);
    json_t *root = json_loads(example, 0, NULL);
    describe(policy, false, before);
    mutate(root, root, "", before);
    assert_true(mutants > 80);
    json_decref(root);
    policy_unref(policy);
    problems_done(&problems);
}

/* ---- whole files ---- */

static void test_shipped(void **state)
{
    (void)state;
    static const char *const files[] = {"default.json", "personal.json", "business.json", "installed.json"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        size_t n;
        char *json = read_file(files[i], &n);
        struct problems problems = {0};
        const struct policy *policy = config_load(json, n, &problems);
        print_problems(&problems);
        assert_non_null(policy);
        assert_int_equal(problems.n, 0);
        assert_true(policy->n_limits >= 4);
        policy_unref(policy);
        free(json);
    }
}

static void test_prefixes(void **state)
{
    (void)state;
    size_t n;
    char *json = read_file("default.json", &n);
    while (n > 0 && json[n - 1] != '}')
        n--;
    for (size_t i = 0; i < n; i++) {
        struct problems problems = {0};
        char *prefix = malloc(i); /* of its own, so that a sanitizer sees a read beyond */
        memcpy(prefix, json, i);
        assert_null(config_load(prefix, i, &problems));
        assert_int_equal(problems.n, 1);
        assert_int_equal(problems.at[0].kind, PROBLEM_FATAL);
        assert_true(problems.at[0].line >= 1);
        assert_int_equal(problems_status(&problems), 78);
        problems_done(&problems);
        free(prefix);
    }
    free(json);
}

static void test_size(void **state)
{
    (void)state;
    const size_t most = 16 << 20;
    char *json = malloc(most + 1);
    memset(json, ' ', most + 1);
    memcpy(json, "{}", 2);
    struct problems problems = {0};
    const struct policy *policy = config_load(json, most, &problems);
    assert_non_null(policy);
    policy_unref(policy);
    assert_null(config_load(json, most + 1, &problems));
    assert_int_equal(problems.at[0].kind, PROBLEM_FATAL);
    problems_done(&problems);
    free(json);
}

static void test_many_problems(void **state)
{
    (void)state;
    char *json = malloc(100000);
    size_t n = (size_t)sprintf(json, "{");
    for (int i = 0; i < 3000; i++)
        n += (size_t)sprintf(json + n, "%s\"unknown%d\":1", i == 0 ? "" : ",\n", i);
    n += (size_t)sprintf(json + n, "}");
    struct problems problems = {0};
    const struct policy *policy = config_load(json, n, &problems);
    assert_non_null(policy);
    assert_int_equal(problems.n, 1001);
    assert_int_equal(problems.at[999].line, 1000);
    assert_non_null(strstr(problems.at[1000].text, "more than 1000"));
    policy_unref(policy);
    problems_done(&problems);
    free(json);
}

/* What nobody lists any more refuses no more than what is listed: a limit with an unknown key is skipped, and what was to be
 * the mode is not enforced. */
static void test_mistakes_beyond_the_list(void **state)
{
    (void)state;
    static const char limit[] = ",\"limits\":[{\"name\":\"a\",\"per\":\"host\",\"max\":0,\"window\":\"1m\",";
    static const struct {
        const char *end;
        size_t limits;
        bool shadow;
    } rows[] = {
        {"\"shadwo\":true}],\"mode\":\"enforce\"}", 0, false},
        {"\"anything\":true}],\"mode\":\"enforce\"}", 0, false},
        {"\"over\":\"reject\"}],\"mdoe\":\"shadow\"}", 1, true},
        {"\"over\":\"reject\"}],\"mode\":\"enforce\"}", 1, false},
    };
    char *json = malloc(100000);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int before = 999; before < 1003; before++) {
            struct problems problems = {0};
            size_t n = (size_t)sprintf(json, "{\"unknown\":1");
            for (int j = 1; j < before; j++)
                n += (size_t)sprintf(json + n, ",\"unknown%d\":1", j);
            (void)sprintf(json + n, "%s%s", limit, rows[i].end);
            const struct policy *policy = load(json, &problems);
            if (policy->n_limits != rows[i].limits || policy->shadow != rows[i].shadow)
                fail_msg("%d problems and %s: %zu limits, shadow %d", before, rows[i].end, policy->n_limits,
                         policy->shadow);
            policy_unref(policy);
            problems_done(&problems);
        }
    }
    free(json);
}

/* Twice the same file: the same policy and the same problems, appended; and a reference keeps it. */
static void test_again(void **state)
{
    (void)state;
    char first[DESCRIPTION], second[DESCRIPTION];
    struct problems problems = {0};
    const struct policy *a = load(example, &problems), *b = load(example, &problems);
    assert_int_equal(problems.n, 0);
    describe(a, true, first);
    assert_ptr_equal(policy_ref(a), a);
    policy_unref(a);
    describe(b, true, second);
    assert_string_equal(first, second);
    describe(a, true, second);
    assert_string_equal(first, second);
    policy_unref(a);
    policy_unref(b);
    policy_unref(NULL);
    problems_done(&problems);
}

static void test_flood_ends(void **state)
{
    (void)state;
    static const char free_class[] = "\"per\":\"recipient\",\"when\":{\"class\":\"free\"}",
                      pair[] = "\"per\":[\"recipient\",\"client\"]",
                      bounces[] = "\"per\":\"recipient\",\"when\":{\"null_sender\":true}";
    static const struct {
        const char *first; /* defers at 10 a minute */
        const char *second;
        bool ends;
    } rows[] = {
        {free_class, "\"per\":\"recipient\",\"max\":500,\"window\":\"1d\",\"over\":\"reject\"", true},
        {free_class,
         "\"per\":\"recipient\",\"max\":500,\"window\":\"1d\",\"over\":\"reject\",\"when\":{\"class\":"
         "\"free\"}",
         true},
        {free_class,
         "\"per\":\"recipient\",\"max\":500,\"window\":\"1d\",\"over\":\"reject\",\"when\":{\"class\":"
         "\"paid\"}",
         false},
        {free_class,
         "\"per\":\"recipient\",\"max\":500,\"window\":\"1m\",\"over\":\"reject\",\"count\":\"attempts\"",
         true},
        {free_class, "\"per\":\"recipient\",\"max\":5,\"window\":\"1m\",\"over\":\"reject\"", false},
        {free_class, "\"per\":\"recipient\",\"max\":14399,\"window\":\"1d\",\"over\":\"reject\"", true},
        {free_class, "\"per\":\"recipient\",\"max\":14400,\"window\":\"1d\",\"over\":\"reject\"", false},
        {free_class,
         "\"per\":\"recipient\",\"max\":500,\"window\":\"1d\",\"over\":\"reject\",\"shadow\":true", false},
        {free_class, "\"per\":\"client\",\"max\":500,\"window\":\"1d\",\"over\":\"reject\"", false},
        {pair, "\"per\":\"client\",\"max\":500,\"window\":\"1d\",\"over\":\"reject\"", true},
        {free_class, "\"per\":[\"recipient\",\"client\"],\"max\":500,\"window\":\"1d\",\"over\":\"reject\"",
         false},
        {bounces, "\"per\":\"recipient\",\"max\":500,\"window\":\"1d\",\"over\":\"reject\"", false},
        {bounces,
         "\"per\":\"recipient\",\"max\":500,\"window\":\"1d\",\"over\":\"reject\",\"when\":{\"null_sender\":"
         "true}",
         true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct problems problems = {0};
        char json[600];
        snprintf(json, sizeof json,
                 "{\"aliases\":{},\"limits\":[{\"name\":\"a\",\"max\":10,\"window\":\"1m\",%s},{\"name\":"
                 "\"b\",%s}]}",
                 rows[i].first, rows[i].second);
        const struct policy *policy = load(json, &problems);
        assert_int_equal(policy->n_limits, 2);
        if (problems.n != !rows[i].ends)
            fail_msg("%s", rows[i].second);
        policy_unref(policy);
        problems_done(&problems);
    }
}

/* ---- parser, schema and manual ---- */

enum { KEYS_MAX = 200 };

struct keys {
    char *at[KEYS_MAX];
    size_t n;
};

static void keys_add(struct keys *keys, const char *key)
{
    assert_true(keys->n < KEYS_MAX);
    keys->at[keys->n++] = strdup(key);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void keys_compare(const char *name, struct keys *keys)
{
    struct keys known = {.n = 0};
    for (const char *const *key = config_keys_names(); *key != NULL; key++)
        keys_add(&known, *key);
    qsort(known.at, known.n, sizeof known.at[0], by_name);
    qsort(keys->at, keys->n, sizeof keys->at[0], by_name);
    for (size_t i = 0; i < known.n && i < keys->n; i++)
        if (strcmp(known.at[i], keys->at[i]) != 0)
            fail_msg("the parser knows %s where the %s has %s", known.at[i], name, keys->at[i]);
    assert_int_equal(known.n, keys->n);
    assert_true(known.n > 60);
    for (size_t i = 0; i < known.n; i++)
        free(known.at[i]);
    for (size_t i = 0; i < keys->n; i++)
        free(keys->at[i]);
}

static void schema_keys(const json_t *schema, const char *pointer, struct keys *keys)
{
    json_t *properties = json_object_get(schema, "properties"), *items = json_object_get(schema, "items"),
           *value;
    const char *key;
    char deeper[300];
    if (properties != NULL) {
        assert_true(json_is_false(json_object_get(schema, "additionalProperties")));
        assert_true(json_is_true(json_object_get(json_object_get(schema, "patternProperties"), "^[$_]")));
    }
    json_object_foreach(properties, key, value)
    {
        snprintf(deeper, sizeof deeper, "%s/%s", pointer, key);
        assert_true(strlen(json_string_value(json_object_get(value, "description"))) > 5);
        keys_add(keys, deeper);
        schema_keys(value, deeper, keys);
    }
    if (items != NULL) {
        snprintf(deeper, sizeof deeper, "%s/*", pointer);
        schema_keys(items, deeper, keys);
    }
}

static void test_schema(void **state)
{
    (void)state;
    size_t n;
    struct keys keys = {.n = 0};
    char *text = read_file("policy.schema.json", &n);
    json_t *schema = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(schema);
    schema_keys(schema, "", &keys);
    keys_compare("schema", &keys);
    json_decref(schema);
    free(text);
}

/* ".It Ic limits[].share.of" is "/limits/ * /share/of". */
static void test_manual(void **state)
{
    (void)state;
    size_t n;
    struct keys keys = {.n = 0};
    char *text = read_file("rcptgate-policy.5", &n), *rest = text, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        char pointer[300] = "/";
        size_t used = 1;
        if (strncmp(line, ".It Ic ", 7) != 0)
            continue;
        for (const char *c = line + 7; *c != '\0'; c++) {
            if (strncmp(c, "[]", 2) == 0) {
                used += (size_t)sprintf(pointer + used, "/*");
                c++;
            } else {
                pointer[used++] = *c == '.' ? '/' : *c;
                pointer[used] = '\0';
            }
        }
        keys_add(&keys, pointer);
    }
    keys_compare("manual", &keys);
    free(text);
}

/* The schema's defaults are the parser's: a file that spells them all is the same policy as an empty one. */
static void collect_defaults(const json_t *schema, json_t *out)
{
    json_t *value;
    const char *key;
    json_object_foreach(json_object_get(schema, "properties"), key, value)
    {
        json_t *standard = json_object_get(value, "default");
        if (standard != NULL) {
            json_object_set(out, key, standard);
        } else if (json_object_get(value, "properties") != NULL) {
            json_t *section = json_object();
            collect_defaults(value, section);
            json_object_set_new(out, key, section);
        }
    }
}

static void test_schema_defaults(void **state)
{
    (void)state;
    size_t n;
    char *text = read_file("policy.schema.json", &n), empty[DESCRIPTION], full[DESCRIPTION];
    json_t *schema = json_loadb(text, n, 0, NULL), *policy_json = json_object();
    struct problems problems = {0};
    collect_defaults(schema, policy_json);
    char *json = json_dumps(policy_json, 0);
    const struct policy *a = load("{\"aliases\":{}}", &problems), *b = load(json, &problems);
    assert_int_equal(problems.n, 0);
    describe(a, true, empty);
    describe(b, true, full);
    assert_string_equal(empty, full);
    policy_unref(a);
    policy_unref(b);
    problems_done(&problems);
    json_decref(schema);
    json_decref(policy_json);
    free(json);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_problem),
        cmocka_unit_test(test_what_skips_a_limit),
        cmocka_unit_test(test_second_name),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_ttl_and_share),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_user_with_a_password_file),
        cmocka_unit_test(test_syntax_error_tells_no_secret),
        cmocka_unit_test(test_sockets),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_mutants),
        cmocka_unit_test(test_shipped),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_many_problems),
        cmocka_unit_test(test_mistakes_beyond_the_list),
        cmocka_unit_test(test_mistakes_refuse_nothing),
        cmocka_unit_test(test_again),
        cmocka_unit_test(test_flood_ends),
        cmocka_unit_test(test_schema),
        cmocka_unit_test(test_manual),
        cmocka_unit_test(test_schema_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
