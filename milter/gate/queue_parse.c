/* queue_parse: owns the tables of numbers, one a subject, until the caller takes or frees them. A line that is no
 * message of postqueue's is counted as bad, not an error; -1 only when out of memory. */
#include "queue_parse.h"

#include "base/utf8.h"
#include "policy/address.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { NAMES_MAX = 200000 }; /* of one subject; what comes after is not counted by name */

int queue_parse_init(struct queue_parse *count, unsigned pers, const char *host, const char *subaddress,
                     struct aliases *rules)
{
    *count = (struct queue_parse){.host = host, .subaddress = subaddress, .srs.rules = rules};
    for (int per = 0; per < SUBJECTS; per++) {
        if ((pers & 1u << per) == 0)
            continue;
        count->of[per] = table_new(sizeof(struct queue_number), NAMES_MAX);
        if (count->of[per] == NULL) {
            queue_parse_done(count);
            return -1;
        }
    }
    return 0;
}

void queue_parse_done(struct queue_parse *count)
{
    for (int per = 0; per < SUBJECTS; per++)
        table_free(count->of[per]);
    *count = (struct queue_parse){0};
}

/* A message counts once a name. */
static void add(struct queue_parse *count, enum subject per, const char *name)
{
    struct queue_number *number =
        count->of[per] != NULL && name[0] != '\0' ? table_add(count->of[per], name, strlen(name)) : NULL;
    if (number == NULL || number->counted == count->messages)
        return;
    number->counted = count->messages;
    number->waiting++;
}

/* An address and its domain, canonical, as the plan of a RCPT has them. */
static void add_address(struct queue_parse *count, enum subject whole, enum subject domain, const char *raw)
{
    struct address address;
    char key[ADDRESS_MAX + 1];
    if (count->of[whole] == NULL && count->of[domain] == NULL)
        return;
    if (whole == SUBJECT_SENDER)
        raw = srs_original(&count->srs, raw);
    switch (whole == SUBJECT_SENDER ? address_parse_sender(raw, count->subaddress, &address, NULL)
                                    : address_parse(raw, count->subaddress, &address, NULL)) {
    case ADDRESS_NULL:
        return;
    case ADDRESS_INVALID:
        address_fallback_key(raw, key, sizeof key);
        add(count, whole, key);
        break;
    default:
        add(count, whole, address.bare);
    }
    add(count, domain, address.domain);
}

static void note(char *to, size_t size, const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    snprintf(to, size, "%s", text != NULL ? text : "");
    utf8_clean(to);
}

/* A message to several waits for the first that has a reason. */
static void note_oldest(struct queue_oldest *oldest, const json_t *message)
{
    const json_t *recipients = json_object_get(message, "recipients"), *waits = json_array_get(recipients, 0);
    for (size_t i = json_array_size(recipients); i-- > 0;)
        if (json_object_get(json_array_get(recipients, i), "delay_reason") != NULL)
            waits = json_array_get(recipients, i);
    note(oldest->id, sizeof oldest->id, message, "queue_id");
    note(oldest->sender, sizeof oldest->sender, message, "sender");
    note(oldest->recipient, sizeof oldest->recipient, waits, "address");
    note(oldest->reason, sizeof oldest->reason, waits, "delay_reason");
}

static void add_message(struct queue_parse *count, const json_t *message)
{
    const char *sender = json_string_value(json_object_get(message, "sender"));
    const json_t *recipients = json_object_get(message, "recipients");
    int64_t arrival = json_integer_value(json_object_get(message, "arrival_time"));
    if (arrival > 0 && (count->oldest_s == 0 || arrival < count->oldest_s)) {
        count->oldest_s = arrival;
        note_oldest(&count->oldest, message);
    }
    if (sender != NULL && strcasecmp(sender, "MAILER-DAEMON") != 0) /* so it shows the null sender */
        add_address(count, SUBJECT_SENDER, SUBJECT_SENDER_DOMAIN, sender);
    for (size_t i = 0; i < json_array_size(recipients); i++) {
        const char *to = json_string_value(json_object_get(json_array_get(recipients, i), "address"));
        if (to != NULL)
            add_address(count, SUBJECT_MAILBOX, SUBJECT_MAILBOX_DOMAIN, to);
    }
}

/* What another server answered stands in a message's line, in whatever bytes it likes. */
static json_t *message_read(char *line, size_t n)
{
    json_t *message = json_loadb(line, n, 0, NULL);
    if (message != NULL)
        return message;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)line[i] >= 0x80 || line[i] == '\0')
            line[i] = '?';
    return json_loadb(line, n, 0, NULL);
}

void queue_parse_line(struct queue_parse *count, char *line, size_t n)
{
    json_t *message = message_read(line, n);
    count->messages++;
    add(count, SUBJECT_HOST, count->host);
    add(count, SUBJECT_ALL, "*");
    if (json_is_object(message) && json_is_array(json_object_get(message, "recipients")))
        add_message(count, message);
    else
        count->bad++;
    json_decref(message);
}

int64_t queue_parse_of(const struct table *numbers, const char *subject)
{
    const struct queue_number *number = table_find(numbers, subject, strlen(subject));
    return number != NULL ? number->waiting : 0;
}
