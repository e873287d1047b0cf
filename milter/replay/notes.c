/* notes: owns nothing; jansson takes what does not fit into memory as NULL, and the report fails as a whole. */
#include "replay/notes.h"

#include "base/text.h"
#include "frame.h"
#include "messages.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SENTENCE = 512 };

static __attribute__((format(printf, 3, 4))) void note(json_t *notes, uint64_t n, const char *format, ...)
{
    char text[SENTENCE];
    va_list args;
    if (n == 0)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_array_append_new(notes, json_string(text));
}

static json_int_t number(uint64_t n)
{
    return (json_int_t)n;
}

/* --- frame --- */

static json_t *unread_json(const struct replay_numbers *numbers)
{
    json_t *array = json_array();
    for (int i = 0; i < FRAMES_UNREAD; i++)
        if (numbers->unread[i] > 0)
            json_array_append_new(array, json_pack("{s:s, s:I, s:s}", "frame",
                                                   frame_unread_name((enum frame_unread)i), "lines",
                                                   number(numbers->unread[i]), "help",
                                                   frame_unread_help((enum frame_unread)i)));
    return array;
}

json_t *notes_frame(const struct replay_numbers *numbers)
{
    json_t *notes = json_array();
    for (int i = FRAME_UNREAD_UNKNOWN + 1; i < FRAMES_UNREAD; i++) {
        const char *help = frame_unread_help((enum frame_unread)i);
        note(notes, numbers->unread[i], "%" PRIu64 " lines cannot be read: %s%s%s", numbers->unread[i],
             frame_unread_name((enum frame_unread)i), help[0] != '\0' ? ". This helps: " : "", help);
    }
    note(notes, numbers->undated,
         "%" PRIu64
         " lines have no date, and are left out. journalctl -o short-iso, docker logs --timestamps and "
         "kubectl logs --timestamps add it",
         numbers->undated);
    note(notes, numbers->repeated,
         "%" PRIu64 " lines were left out by syslog, which says so (\"message repeated\"): counted as often",
         numbers->repeated);
    return json_pack("{s:I, s:I, s:o, s:o}", "undated", number(numbers->undated), "repeated",
                     number(numbers->repeated), "unread", unread_json(numbers), "notes", notes);
}

const char *notes_hint(const struct replay_numbers *numbers, char *buffer, size_t size)
{
    int most = FRAME_UNREAD_UNKNOWN;
    for (int i = FRAME_UNREAD_UNKNOWN + 1; i < FRAMES_UNREAD; i++)
        if (numbers->unread[i] > 0 &&
            (most == FRAME_UNREAD_UNKNOWN || numbers->unread[i] > numbers->unread[most]))
            most = i;
    buffer[0] = '\0';
    if (most != FRAME_UNREAD_UNKNOWN)
        snprintf(buffer, size, "it looks like %s: %s", frame_unread_name((enum frame_unread)most),
                 frame_unread_help((enum frame_unread)most));
    else if (numbers->undated > 0)
        snprintf(buffer, size, "its lines have no date: journalctl -o short-iso, docker logs --timestamps");
    return buffer;
}

/* --- clock --- */

static const char *zone(void)
{
    const char *tz = getenv("TZ");
    return tz != NULL && tz[0] != '\0' ? tz : "this host's";
}

static void note_years(json_t *notes, const struct replay_numbers *numbers)
{
    note(notes, numbers->yearless,
         "%" PRIu64
         " dates name no year: taken as the last year in which they fit before the file was changed",
         numbers->yearless);
    note(notes, numbers->moved_years > 0,
         "they proved to be %d year%s older%s: such dates of several years are in the log, and only their "
         "order is sure",
         numbers->moved_years, numbers->moved_years == 1 ? "" : "s",
         numbers->leap ? " (29 February)" : " (more than a year in a file)");
}

static void note_back(json_t *notes, const struct replay_numbers *numbers)
{
    char most[32], when[32] = "";
    struct text text;
    struct tm tm;
    time_t at = (time_t)(numbers->back_at_ms / 1000);
    text_init(&text, most, sizeof most);
    text_add_duration(&text, numbers->back_most_s * 1000);
    if (gmtime_r(&at, &tm) == NULL || strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        when[0] = '\0';
    note(notes, numbers->back,
         "the dates go back %" PRIu64
         " times, at most by %s (at %s): sorted by their dates. Where a clock was set back, "
         "what came before and after falls into the same minutes, and limits seem fuller than they were",
         numbers->back, most, when);
}

json_t *notes_clock(const struct replay_numbers *numbers)
{
    json_t *notes = json_array();
    note(notes, numbers->local, "%" PRIu64 " dates name no time zone: taken as local time (TZ: %s)",
         numbers->local, zone());
    note(notes, numbers->other_zone,
         "%" PRIu64
         " dates name a zone that is not the local one, and are taken as local time: set TZ to the log's",
         numbers->other_zone);
    note(notes, numbers->twice, "%" PRIu64 " dates are of an hour that came twice: told apart by their order",
         numbers->twice);
    note(notes, numbers->skipped,
         "%" PRIu64 " dates are of an hour that the local time skipped: is TZ that of the log?",
         numbers->skipped);
    note_years(notes, numbers);
    note_back(notes, numbers);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:i, s:I, s:I, s:o}", "without_zone", number(numbers->local),
                     "other_zone", number(numbers->other_zone), "without_year", number(numbers->yearless),
                     "hour_twice", number(numbers->twice), "hour_skipped", number(numbers->skipped),
                     "years_older", numbers->moved_years, "back", number(numbers->back), "back_most_s",
                     (json_int_t)numbers->back_most_s, "notes", notes);
}

/* --- identity --- */

/* RCPTs that are not in the log, or whose message came to nothing. */
static void note_unknown(json_t *notes, const struct replay_numbers *numbers)
{
    note(notes, numbers->turned_away,
         "%" PRIu64 " connections were refused by a milter: their RCPTs are not in the log",
         numbers->turned_away);
    note(notes, numbers->dropped,
         "%" PRIu64 " messages were dropped by a milter: Postfix names none of their recipients, nor those "
         "that are dropped from other messages; the decision lines of rcptgate do",
         numbers->dropped);
    note(notes, numbers->unfinished,
         "%" PRIu64
         " messages did not come to their end: Postfix does not name the RCPTs that were accepted, "
         "and limits on attempts count less than they did",
         numbers->unfinished);
    note(notes, numbers->unended,
         "%" PRIu64
         " RCPTs were accepted and their message never came to its end: given back, as a gate does",
         numbers->unended);
}

json_t *notes_identity(const struct replay_numbers *numbers)
{
    json_t *notes = json_array();
    note(notes, numbers->given_back,
         "%" PRIu64 " messages came back from a content filter: counted once, where they came in",
         numbers->given_back);
    note(notes, numbers->given_back_late,
         "%" PRIu64 " RCPTs had been counted when it was seen that a filter gave them back",
         numbers->given_back_late);
    note(notes, numbers->forwarded,
         "%" PRIu64 " messages came through a proxy or filter that named their client: that one counts",
         numbers->forwarded);
    note(notes, numbers->this_host,
         "%" PRIu64 " RCPTs came from this host itself (127.0.0.1 or ::1). Where a filter gave them back and "
         "neither XFORWARD "
         "nor its answer (\"queued as\") says so, they count twice",
         numbers->this_host);
    note(notes, numbers->no_sender, "%" PRIu64 " RCPTs have no sender in the log: taken as <>",
         numbers->no_sender);
    note(notes, numbers->no_client,
         "%" PRIu64 " RCPTs have no client in the log: limits and rules on clients do not apply to them",
         numbers->no_client);
    note(notes, numbers->queued_senders,
         "%" PRIu64 " messages have their sender from the queue: undone is what SRS of ours made of it, not "
         "what other maps did",
         numbers->queued_senders);
    note_unknown(notes, numbers);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "no_sender",
                     number(numbers->no_sender), "no_client", number(numbers->no_client), "given_back",
                     number(numbers->given_back), "given_back_late", number(numbers->given_back_late),
                     "client_named", number(numbers->forwarded), "from_this_host", number(numbers->this_host),
                     "sender_from_queue", number(numbers->queued_senders), "connections_refused",
                     number(numbers->turned_away), "messages_dropped", number(numbers->dropped),
                     "messages_without_end", number(numbers->unfinished), "rcpts_without_end",
                     number(numbers->unended), "notes", notes);
}

json_t *notes_run(const struct replay *replay)
{
    json_t *notes = json_array();
    const struct srs *srs = &replay->srs;
    note(notes, srs->undone, "%" PRIu64 " messages: the sender before SRS of ours counts%s", srs->undone,
         srs->rules == NULL ? " (without alias rules every SRS is taken as ours)" : "");
    note(notes, srs->opaque, "%" PRIu64 " messages: whom SRS of ours stands for is in its database alone",
         srs->opaque);
    note(notes, srs->foreign, "%" PRIu64 " messages: SRS of a domain that is not ours: the sender as he is",
         srs->foreign);
    note(notes, replay->early, "%" PRIu64 " messages: ended before the log says so, as too many were open",
         replay->early);
    return notes;
}

/* --- bounds --- */

json_t *notes_dropped(const struct replay_numbers *numbers)
{
    json_t *notes = json_array();
    note(notes, numbers->long_lines, "%" PRIu64 " lines were too long to be read", numbers->long_lines);
    note(notes, numbers->too_long, "%" PRIu64 " addresses or logins were too long, or no text",
         numbers->too_long);
    note(notes, numbers->recipients,
         "%" PRIu64 " recipients are beyond the %d of a message that are told apart", numbers->recipients,
         MESSAGES_SEEN);
    note(notes, numbers->repeats, "%" PRIu64 " repetitions are beyond the %d of a line that are believed",
         numbers->repeats, REPLAY_REPEATS);
    note(notes, numbers->hosts, "%" PRIu64 " lines are of more hosts than the %d that are told apart",
         numbers->hosts, REPLAY_HOSTS);
    note(notes, numbers->forgotten,
         "%" PRIu64 " messages were forgotten before they were queued, as %d are known at once",
         numbers->forgotten, MESSAGES_MAX);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "lines", number(numbers->long_lines), "texts",
                     number(numbers->too_long), "recipients", number(numbers->recipients), "repetitions",
                     number(numbers->repeats), "hosts", number(numbers->hosts), "messages",
                     number(numbers->forgotten), "notes", notes);
}
