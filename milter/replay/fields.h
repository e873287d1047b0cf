/* fields: the fields of a log record that replay looks at, from JSON (journald, docker, and what collectors make) and from journald's
 * export format (systemd's JOURNAL_EXPORT_FORMATS). All else is passed over. */
#ifndef RCPTGATE_REPLAY_FIELDS_H
#define RCPTGATE_REPLAY_FIELDS_H

#include "date.h"

#include <stdint.h>

enum field { FIELD_MESSAGE, FIELD_PROGRAM, FIELD_PID, FIELD_HOST, FIELDS_TEXTS };

enum { FIELDS_ROOM = 256 * 1024 }; /* bytes of what is decoded of a record */

struct fields {
    struct span text[FIELDS_TEXTS]; /* empty: not there */
    struct date date;
    int date_rank;     /* of the name that it was found under: the lower one counts */
    struct {           /* an export */
        bool open;     /* a record has begun */
        bool binary;   /* collecting one whose length and bytes follow its name */
        bool whole;    /* the record fitted */
        size_t begin;  /* of that field, in room */
        char name[32]; /* and what it is called; "" where nobody asks for it */
    } record;
    size_t used;
    char room[FIELDS_ROOM];
};

enum fields_found {
    FIELDS_NONE,  /* no record; or none with a field that is looked at */
    FIELDS_MORE,  /* the record goes on */
    FIELDS_WHOLE, /* text and date are filled, until the next call */
    FIELDS_CUT,   /* it ends in its middle, or does not fit */
};

void fields_reset(struct fields *fields); /* forgets all, the room too */
void fields_clear(struct fields *fields); /* keeps what lies in room: a record within another one's text */

/* text begins with '{'. */
enum fields_found fields_json(struct fields *fields, struct span text);

/* FIELDS_NONE: not of an export. */
enum fields_found fields_export(struct fields *fields, struct span line);

/* The file has ended. FIELDS_NONE: no record was open. */
enum fields_found fields_export_end(struct fields *fields);

#endif
