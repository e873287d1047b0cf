/* answer: owns nothing. A line that libmilter refuses becomes 451, so that a broken text never loses mail nor refuses
 * it for good. */
#include "answer.h"

#include "base/text.h"
#include "base/unzeroed.h"

#include <string.h>

sfsistat answer(SMFICTX *ctx, const struct reply_line *line)
{
    if (line->code[0] == '\0')
        return SMFIS_CONTINUE;
    /* smfi_setreply() wants '%' doubled, and takes no const */
    char code[sizeof line->code], dsn[sizeof line->dsn], text[2 * sizeof line->text] UNZEROED;
    memcpy(code, line->code, sizeof code);
    memcpy(dsn, line->dsn, sizeof dsn);
    struct text out;
    text_init(&out, text, sizeof text);
    for (const char *c = line->text; *c != '\0';) {
        const size_t n = strcspn(c, "%");
        text_add_bytes(&out, c, n);
        c += n;
        if (*c == '%') {
            text_add(&out, "%%");
            c++;
        }
    }
    if (smfi_setreply(ctx, code, dsn, text) != MI_SUCCESS)
        return SMFIS_TEMPFAIL;
    return code[0] == '5' ? SMFIS_REJECT : SMFIS_TEMPFAIL;
}
