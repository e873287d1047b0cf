/* address: see address.h. Owns nothing; allocates only inside libidn2, and only for domains that are not ASCII.
 * One pass over the input, no recursion: what a client sends costs time in proportion to its length. Fails only
 * where the input is no address; the reason is that of the first fault from the left. */
#include "policy/address.h"

#include "base/hash.h"
#include "base/network.h"
#include "base/text.h"
#include "base/unzeroed.h"

#include <idn2.h>

#include <inttypes.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

enum {
    LABEL_MAX = 63,
    /* No domain that fits into ADDRESS_DOMAIN_MAX as A-labels is longer than this with U-labels. */
    DOMAIN_TEXT_MAX = 1024,
};

struct reader { /* what is left to read */
    const char *at, *end;
};

struct content { /* a local part without quotes and escapes */
    char bytes[ADDRESS_LOCAL_MAX];
    size_t len;
};

// clang-format off
/* Each ASCII character of an atom, RFC 5322 3.2.3; a blank for the others. */
static const char atext[] =
    "                                "
    " ! #$%&'  *+ - /0123456789   = ?"
    " ABCDEFGHIJKLMNOPQRSTUVWXYZ   ^_"
    "`abcdefghijklmnopqrstuvwxyz{|}~ ";

/* Each character of a label, in lower case: letters, digits, hyphens, and the underscore that Postfix lets pass too; a blank or
 * NUL for the others. */
static const char label_bytes[256] =
    "                                "
    "             -  0123456789      "
    " abcdefghijklmnopqrstuvwxyz    _"
    " abcdefghijklmnopqrstuvwxyz     ";
// clang-format on

/* Beside those UTF-8 (RFC 6531 3.3), whose form is_text() looks at. */
static bool is_atext(char c)
{
    return (unsigned char)c >= 0x80 || atext[(unsigned char)c] != ' ';
}

/* In lower case; false: no label has it. */
static bool label_byte(char c, char *lowered)
{
    *lowered = label_bytes[(unsigned char)c];
    return *lowered > ' ';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* Length of the UTF-8 sequence at s (RFC 3629 4), 0 where it is malformed. A NUL is never a continuation. */
static size_t utf8_length(const unsigned char *s)
{
    static const struct {
        unsigned char first, last, low, high; /* of the first byte; of the second */
        size_t n;
    } rows[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (s[0] < rows[i].first || s[0] > rows[i].last)
            continue;
        if (s[1] < rows[i].low || s[1] > rows[i].high)
            return 0;
        for (size_t k = 2; k < rows[i].n; k++)
            if ((s[k] & 0xc0) != 0x80)
                return 0;
        return rows[i].n;
    }
    return 0;
}

/* No controls but the tab, and nothing but UTF-8. */
static bool is_text(const char *raw, struct error *err)
{
    const unsigned char *s = (const unsigned char *)raw;
    for (;;) {
        while ((*s >= ' ' && *s < 0x7f) || *s == '\t')
            s++;
        if (*s == '\0')
            return true;
        if (*s < 0x80) {
            error_set(err, "the address has a control character");
            return false;
        }
        const size_t n = utf8_length(s);
        if (n == 0) {
            error_set(err, "the address has bytes that are not UTF-8");
            return false;
        }
        s += n;
    }
}

/* ---- domain ---- */

static int domain_ascii(const char *text, size_t len, char *out, struct error *err)
{
    char lowered[ADDRESS_DOMAIN_MAX + 1] UNZEROED;
    if (len > 0 && text[len - 1] == '.')
        len--;
    if (len == 0 || len > ADDRESS_DOMAIN_MAX) {
        error_set(err, len == 0 ? "the domain is empty" : "the domain is longer than 255 octets");
        return -1;
    }
    for (size_t i = 0; i <= len; i++) { /* a label, and the dot behind it */
        const size_t label = i;
        while (i < len && label_byte(text[i], &lowered[i]))
            i++;
        if (i < len && text[i] != '.') {
            error_set(err, "the domain has a character that no domain has");
            return -1;
        }
        if (i == label || i - label > LABEL_MAX) {
            error_set(err, "the domain has a label that is empty or longer than 63 octets");
            return -1;
        }
        if (lowered[label] == '-' || lowered[i - 1] == '-') {
            error_set(err, "the domain has a label that begins or ends with a hyphen");
            return -1;
        }
        lowered[i] = '.';
    }
    memcpy(out, lowered, len);
    out[len] = '\0';
    return 0;
}

/* "[192.0.2.7]" and "[IPv6:2001:db8::1]"; no other tag was ever standardised (RFC 5321 4.1.3). */
static int domain_literal(const char *text, size_t len, char *out, struct error *err)
{
    static const char tag[] = "ipv6:";
    char inner[NETWORK_TEXT], address[NETWORK_TEXT];
    struct network net;
    struct text domain;
    bool good = len >= 2 && text[len - 1] == ']' && len - 2 < sizeof inner;
    if (good) {
        memcpy(inner, text + 1, len - 2);
        inner[len - 2] = '\0';
        const bool tagged = strncasecmp(inner, tag, sizeof tag - 1) == 0;
        good = tagged == (strchr(inner, ':') != NULL) && strpbrk(inner, "[/") == NULL &&
               network_parse(inner, &net, NULL) == 0;
    }
    if (!good) {
        error_set(err, "the address literal is neither [IPv4] nor [IPv6:address]");
        return -1;
    }
    text_init(&domain, out, ADDRESS_DOMAIN_MAX + 1);
    text_addf(&domain, "[%s%s]", network_is_ipv4(&net) ? "" : tag, network_format(&net, address));
    return 0;
}

/* Has it one of the four characters that transitional processing makes others of (UTS #46 2.3)? */
static bool has_deviation(const char *text)
{
    static const char *const deviations[] = {"\xc3\x9f", "\xcf\x82", "\xe2\x80\x8c", "\xe2\x80\x8d"};
    for (size_t i = 0; i < sizeof deviations / sizeof deviations[0]; i++)
        if (strstr(text, deviations[i]) != NULL)
            return true;
    return false;
}

/* libidn2 maps, normalises and encodes; whether a domain came out of it is looked at afterwards.
 *
 * IDNA2008 disallows emoji and other symbols, which UTS #46 only maps; yet there are such domains, mail to them comes with
 * U-labels, and their A-labels may be ours. With transitional processing libidn2 does not look at that; but for the
 * deviations the result is the same. */
static int domain_idn(const char *text, size_t len, char *out, struct error *err)
{
    char whole[DOMAIN_TEXT_MAX];
    uint8_t *ascii = NULL;
    if (len >= sizeof whole) {
        error_set(err, "the domain is longer than 255 octets");
        return -1;
    }
    memcpy(whole, text, len);
    whole[len] = '\0';
    int rc = idn2_lookup_u8((const uint8_t *)whole, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (rc == IDN2_DISALLOWED && !has_deviation(whole))
        rc = idn2_lookup_u8((const uint8_t *)whole, &ascii, IDN2_NFC_INPUT | IDN2_TRANSITIONAL);
    if (rc != IDN2_OK) {
        error_set(err, "the domain is no internationalised domain: %s", idn2_strerror(rc));
        return -1;
    }
    const int result = domain_ascii((const char *)ascii, strlen((const char *)ascii), out, err);
    idn2_free(ascii);
    return result;
}

static bool is_ascii(const char *text, size_t len)
{
    size_t i = 0;
    while (i < len && (unsigned char)text[i] < 0x80)
        i++;
    return i == len;
}

/* An ASCII domain is not shown to libidn2, A-labels neither: the grammar of RFC 5321 takes them as they are,
 * and one that this libidn2's Unicode does not know yet is no reason to refuse mail. */
static int domain_canonical(const char *text, size_t len, char *out, struct error *err)
{
    if (len > 0 && text[0] == '[')
        return domain_literal(text, len, out, err);
    return is_ascii(text, len) ? domain_ascii(text, len, out, err) : domain_idn(text, len, out, err);
}

int address_domain(const char *raw, char *out, struct error *err)
{
    return domain_canonical(raw, strlen(raw), out, err);
}

bool address_domain_unicode(const char *domain, char *out, size_t size)
{
    char *unicode = NULL, again[ADDRESS_DOMAIN_MAX + 1] UNZEROED;
    if (strstr(domain, "xn--") == NULL ||
        idn2_to_unicode_8z8z(domain, &unicode, IDN2_NONTRANSITIONAL) != IDN2_OK)
        return false;
    /* What does not lead back is another domain, or none. */
    const size_t len = strlen(unicode);
    const bool differs = strcmp(unicode, domain) != 0 && len < size &&
                         address_domain(unicode, again, NULL) == 0 && strcmp(again, domain) == 0;
    if (differs)
        memcpy(out, unicode, len + 1);
    idn2_free(unicode);
    return differs;
}

/* ---- the parts of a path ---- */

static bool more(const struct reader *in)
{
    return in->at < in->end;
}

static bool take(struct reader *in, char c)
{
    if (!more(in) || *in->at != c)
        return false;
    in->at++;
    return true;
}

/* From behind the '(' to behind its ')'; comments nest. */
static int skip_comment(struct reader *in, struct error *err)
{
    for (size_t depth = 1; more(in);) {
        const char c = *in->at++;
        if (c == '\\' && more(in))
            in->at++;
        else if (c == '(')
            depth++;
        else if (c == ')' && --depth == 0)
            return 0;
    }
    error_set(err, "a comment is not closed");
    return -1;
}

/* Blanks and comments: RFC 5321 has none inside a path, mail programs do, and Postfix drops them. */
static int skip_blanks(struct reader *in, struct error *err)
{
    while (more(in) && (is_blank(*in->at) || *in->at == '('))
        if (*in->at++ == '(' && skip_comment(in, err) != 0)
            return -1;
    return 0;
}

static bool is_domain_byte(char c)
{
    char lowered;
    return label_byte(c, &lowered) || c == '.' || (unsigned char)c >= 0x80;
}

/* "@one.example", also "@[192.0.2.7]". Not looked at closely: it is thrown away (RFC 5321 C). */
static int skip_hop(struct reader *in, struct error *err)
{
    bool good = take(in, '@');
    const char *begin = in->at;
    if (good && take(in, '[')) {
        while (more(in) && *in->at != ']')
            in->at++;
        good = take(in, ']');
    } else if (good) {
        while (more(in) && is_domain_byte(*in->at))
            in->at++;
        good = in->at > begin;
    }
    if (!good)
        error_set(err, "the local part is empty, or the source route is damaged");
    return good ? 0 : -1;
}

/* "@one.example,@two.example:" */
static int skip_route(struct reader *in, struct error *err)
{
    if (!more(in) || *in->at != '@')
        return 0;
    do {
        if (skip_blanks(in, err) != 0 || skip_hop(in, err) != 0 || skip_blanks(in, err) != 0)
            return -1;
    } while (take(in, ','));
    if (take(in, ':'))
        return skip_blanks(in, err);
    error_set(err, "the local part is empty, or the source route does not end with a colon");
    return -1;
}

static int content_add(struct content *content, char c, struct error *err)
{
    if (content->len == sizeof content->bytes) {
        error_set(err, "the local part is longer than 64 octets");
        return -1;
    }
    content->bytes[content->len++] = lower(c);
    return 0;
}

/* From behind the opening quote to behind the closing one. */
static int read_quoted(struct reader *in, struct content *content, struct error *err)
{
    while (more(in)) {
        char c = *in->at++;
        if (c == '"')
            return 0;
        if (c == '\\') {
            if (!more(in))
                break;
            c = *in->at++;
        }
        if (c == '\t') {
            error_set(err, "the local part has a control character");
            return -1;
        }
        if (content_add(content, c, err) != 0)
            return -1;
    }
    error_set(err, "a quoted string is not closed");
    return -1;
}

/* An escape outside of quotes is RFC 821's; Postfix takes it. */
static int read_atom(struct reader *in, struct content *content, struct error *err)
{
    const char *begin = in->at;
    while (more(in)) {
        char c = *in->at;
        if (c == '\\' && in->at + 1 < in->end && in->at[1] != '\t')
            c = *++in->at;
        else if (!is_atext(c))
            break;
        in->at++;
        if (content_add(content, c, err) != 0)
            return -1;
    }
    if (in->at > begin)
        return 0;
    error_set(err,
              "the local part is empty, has an empty part between dots or a character that needs quotes");
    return -1;
}

/* Words with dots between them. Quoted words among others are RFC 5322's (4.4), which still writes them. */
static int read_local(struct reader *in, struct content *content, struct error *err)
{
    content->len = 0;
    for (;;) {
        if (skip_blanks(in, err) != 0)
            return -1;
        const int rc = take(in, '"') ? read_quoted(in, content, err) : read_atom(in, content, err);
        if (rc != 0 || skip_blanks(in, err) != 0)
            return -1;
        if (!take(in, '.'))
            return 0;
        if (content_add(content, '.', err) != 0)
            return -1;
    }
}

/* A domain with blanks or comments in it or behind it. */
static int read_spaced_domain(struct reader *in, char *out, struct error *err)
{
    char text[DOMAIN_TEXT_MAX] = "";
    size_t len = 0;
    while (more(in)) {
        if (len == sizeof text - 1) {
            error_set(err, "the domain is longer than 255 octets");
            return -1;
        }
        text[len++] = *in->at++;
        if (!more(in) || (!is_blank(*in->at) && *in->at != '('))
            continue;
        if (skip_blanks(in, err) != 0)
            return -1;
        if (more(in) && *in->at != '.' && text[len - 1] != '.') { /* blanks may surround a dot, no more */
            error_set(err, "there is something behind the domain");
            return -1;
        }
    }
    return domain_canonical(text, len, out, err);
}

/* All that is left, which must be a domain. */
static int read_domain(struct reader *in, char *out, struct error *err)
{
    if (skip_blanks(in, err) != 0)
        return -1;
    for (const char *at = in->at; at < in->end; at++)
        if (is_blank(*at) || *at == '(')
            return read_spaced_domain(in, out, err);
    return domain_canonical(in->at, (size_t)(in->end - in->at), out, err);
}

/* ---- the canonical form ---- */

static bool is_dot_string(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const bool dot_inside = bytes[i] == '.' && i > 0 && i + 1 < n && bytes[i - 1] != '.';
        if (!dot_inside && !is_atext(bytes[i]))
            return false;
    }
    return n > 0;
}

/* Writes the first n bytes of a content, quoted where needed; false, with out untouched, where it gets too long. */
static bool write_local(const char *bytes, size_t n, char *out)
{
    char quoted[2 * ADDRESS_LOCAL_MAX + 2];
    size_t len = 0;
    if (is_dot_string(bytes, n)) {
        memcpy(out, bytes, n);
        out[n] = '\0';
        return true;
    }
    quoted[len++] = '"';
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '"' || bytes[i] == '\\')
            quoted[len++] = '\\';
        quoted[len++] = bytes[i];
    }
    quoted[len++] = '"';
    if (len > ADDRESS_LOCAL_MAX)
        return false;
    memcpy(out, quoted, len);
    out[len] = '\0';
    return true;
}

static bool begins(const struct content *content, const char *text)
{
    return content->len >= strlen(text) && memcmp(content->bytes, text, strlen(text)) == 0;
}

static bool ends(const struct content *content, const char *text)
{
    size_t n = strlen(text);
    return content->len > n && memcmp(content->bytes + content->len - n, text, n) == 0;
}

static bool is(const struct content *content, const char *text)
{
    return content->len == strlen(text) && begins(content, text);
}

/* "srs0=", "srs1+", "srs0-": a return path that a forwarder has signed. */
static bool is_srs(const struct content *content)
{
    return content->len > 5 && (begins(content, "srs0") || begins(content, "srs1")) &&
           (content->bytes[4] == '=' || content->bytes[4] == '+' || content->bytes[4] == '-');
}

/* Has it no subaddress, whatever it looks like? As Postfix's split_addr(), with owner_request_special. */
static bool is_whole(const struct content *content, const char *subaddress)
{
    if (is_srs(content) || is(content, "mailer-daemon") || is(content, "double-bounce"))
        return true;
    return strchr(subaddress, '-') != NULL && (begins(content, "owner-") || ends(content, "-request"));
}

/* How much of a content is left without its subaddress. */
static size_t bare_length(const struct content *content, const char *subaddress)
{
    if (is_whole(content, subaddress))
        return content->len;
    for (size_t i = 0; i < content->len; i++) {
        const char c = content->bytes[i];
        if ((unsigned char)c < 0x80 && strchr(subaddress, c) != NULL)
            return i > 0 ? i : content->len;
    }
    return content->len;
}

/* False where the whole is too long; out then holds its beginning. */
static bool join(char *out, const char *local, const char *domain)
{
    struct text text;
    text_init(&text, out, ADDRESS_MAX + 1);
    text_add(&text, local);
    if (domain[0] != '\0') {
        text_add(&text, "@");
        text_add(&text, domain);
    }
    return !text.cut;
}

/* Fills all but kind; domain is there already. */
static int compose(const struct content *content, const char *subaddress, struct address *out,
                   struct error *err)
{
    if (!write_local(content->bytes, content->len, out->local_full)) {
        error_set(err, "the local part is longer than 64 octets");
        return -1;
    }
    if (!join(out->full, out->local_full, out->domain)) {
        error_set(err, "the address is longer than 254 octets");
        return -1;
    }
    /* Without its subaddress a local part can need quotes that it did without ("a.+b"). Where these no longer
     * fit it is left whole, so that the key of a counter is always an address. */
    const size_t n = bare_length(content, subaddress);
    if (n == content->len || !write_local(content->bytes, n, out->local_bare) ||
        !join(out->bare, out->local_bare, out->domain)) {
        memcpy(out->local_bare, out->local_full, sizeof out->local_bare);
        memcpy(out->bare, out->full, sizeof out->bare);
    }
    out->percent_or_bang = out->local_full[0] != '"' && strpbrk(out->local_full, "%!") != NULL;
    return 0;
}

/* ---- parsing ---- */

static void trim(struct reader *in)
{
    while (more(in) && is_blank(*in->at))
        in->at++;
    while (more(in) && is_blank(in->end[-1]))
        in->end--;
}

static int strip_brackets(struct reader *in, struct error *err)
{
    trim(in);
    if (!take(in, '<'))
        return 0;
    if (!more(in) || in->end[-1] != '>') {
        error_set(err, "the address has '<' and does not end with '>'");
        return -1;
    }
    in->end--;
    trim(in);
    return 0;
}

/* Where the user begins behind a mark, a tag and the separator; 0 where that is not what stands there. */
static size_t behind_tag(const struct content *content, const char *mark, const char *separator)
{
    size_t begin = strlen(mark), n = strlen(separator);
    if (!begins(content, mark))
        return 0;
    for (size_t i = begin + 1; i + n < content->len; i++)
        if (memcmp(content->bytes + i, separator, n) == 0)
            return i + n;
    return 0;
}

static void strip_batv(struct content *content)
{
    size_t begin = behind_tag(content, "prvs=", "=");
    if (begin == 0)
        begin = behind_tag(content, "btv1==", "==");
    content->len -= begin;
    memmove(content->bytes, content->bytes + begin, content->len);
}

/* Nearly every address: letters, digits, hyphens, underscores and single dots before the '@', none of them a separator, and an
 * ASCII domain behind it. The grammar would only copy these. False: it is another one, or none. */
static bool parse_usual(struct reader in, const char *subaddress, struct address *out)
{
    char local[ADDRESS_LOCAL_MAX + 1] UNZEROED;
    if (in.end - in.at >= 2 && *in.at == '<' && in.end[-1] == '>') {
        in.at++;
        in.end--;
    }
    const size_t len = (size_t)(in.end - in.at);
    const char *at = len <= ADDRESS_MAX ? memchr(in.at, '@', len) : NULL;
    const size_t n = at != NULL ? (size_t)(at - in.at) : 0;
    if (n == 0 || n > ADDRESS_LOCAL_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (label_byte(in.at[i], &local[i]))
            continue;
        if (in.at[i] != '.' || i == 0 || i + 1 == n || in.at[i - 1] == '.')
            return false;
        local[i] = '.';
    }
    local[n] = '\0';
    bool may_have = strcmp(subaddress, "+") != 0; /* which is none of these bytes */
    if ((may_have && strpbrk(local, subaddress) != NULL) ||
        domain_ascii(at + 1, len - n - 1, out->domain, NULL) != 0)
        return false;
    const size_t domain = strlen(out->domain) + 1;
    memcpy(out->local_full, local, n + 1);
    memcpy(out->local_bare, local, n + 1);
    memcpy(out->full, local, n);
    out->full[n] = '@';
    memcpy(out->full + n + 1, out->domain, domain);
    memcpy(out->bare, out->full, n + 1 + domain);
    out->kind = ADDRESS_MAILBOX;
    out->usual = true;
    return true;
}

static int parse(struct reader in, const char *subaddress, bool sender, struct address *out,
                 struct error *err)
{
    struct content content;
    if (!is_text(in.at, err) || strip_brackets(&in, err) != 0)
        return -1;
    if (!more(&in)) {
        out->kind = ADDRESS_NULL;
        return 0;
    }
    if (skip_blanks(&in, err) != 0 || skip_route(&in, err) != 0 || read_local(&in, &content, err) != 0)
        return -1;
    enum address_kind kind = ADDRESS_BARE;
    if (more(&in)) {
        if (!take(&in, '@')) {
            error_set(err, "the local part has a character that needs quotes");
            return -1;
        }
        if (read_domain(&in, out->domain, err) != 0)
            return -1;
        kind = ADDRESS_MAILBOX;
    }
    if (sender)
        strip_batv(&content);
    if (compose(&content, subaddress, out, err) != 0)
        return -1;
    out->kind = kind;
    return 0;
}

/* The last '@' outside of quotes, and, where asked for, outside of comments; NULL where there is none.
 * *route: there was a '%' or '!' before it. */
static const char *last_at(struct reader in, bool comments, bool *route)
{
    const char *last = NULL;
    bool quoted = false, seen = false;
    *route = false;
    while (more(&in)) {
        const char c = *in.at++;
        if (c == '\\' && more(&in))
            in.at++;
        else if (c == '"')
            quoted = !quoted;
        else if (quoted)
            continue;
        else if (c == '(' && comments && skip_comment(&in, NULL) != 0)
            return NULL; /* what follows cannot be told from the comment */
        else if (c == '%' || c == '!')
            seen = true;
        else if (c == '@') {
            last = in.at - 1;
            *route = seen;
        }
    }
    return last;
}

/* Without a string in it. All its bytes are ten times as many as are ever used. */
static void make_empty(struct address *out)
{
    out->kind = ADDRESS_INVALID;
    out->full[0] = out->bare[0] = out->local_full[0] = out->local_bare[0] = out->domain[0] = '\0';
    out->percent_or_bang = out->usual = false;
}

/* What can still be said of an input that is no address: whose domain it carries, and whether it may be a route. */
static void salvage(struct reader in, struct address *out)
{
    bool route;
    const char *at = last_at(in, true, &route);
    if (at == NULL)
        at = last_at(in, false, &route);
    make_empty(out);
    out->percent_or_bang = route;
    if (at == NULL)
        return;
    in.at = at + 1;
    trim(&in);
    if (more(&in) && in.end[-1] == '>')
        in.end--;
    if (read_domain(&in, out->domain, NULL) != 0)
        out->domain[0] = '\0';
}

static enum address_kind parse_or_salvage(const char *raw, const char *subaddress, bool sender,
                                          struct address *out, struct error *err)
{
    const struct reader in = {raw, raw + strlen(raw)};
    make_empty(out);
    if (!parse_usual(in, subaddress, out) && parse(in, subaddress, sender, out, err) != 0)
        salvage(in, out);
    return out->kind;
}

enum address_kind address_parse(const char *raw, const char *subaddress, struct address *out,
                                struct error *err)
{
    return parse_or_salvage(raw, subaddress, false, out, err);
}

enum address_kind address_parse_sender(const char *raw, const char *subaddress, struct address *out,
                                       struct error *err)
{
    return parse_or_salvage(raw, subaddress, true, out, err);
}

void address_fallback_key(const char *raw, char *out, size_t size)
{
    struct text key;
    char hash[1 + 16 + 1] = "";
    size_t len = strlen(raw), keep = size - 1 < ADDRESS_MAX ? size - 1 : ADDRESS_MAX;
    if (len >= 2 && raw[0] == '<' && raw[len - 1] == '>') { /* with and without them it is the same */
        raw++;
        len -= 2;
    }
    if (len > keep) {
        uint64_t h = HASH_FNV; /* two that meet only share a counter */
        for (const char *s = raw; s < raw + len; s++)
            h = hash_fnv(h, (unsigned char)lower(*s));
        text_init(&key, hash, sizeof hash);
        text_addf(&key, "#%016" PRIx64, h);
        len = keep > key.len ? keep - key.len : 0;
    }
    text_init(&key, out, size);
    text_add_bytes(&key, raw, len);
    text_add(&key, hash);
    text_lower(out);
}

/* ---- SRS ---- */

struct part { /* of a raw address */
    const char *at;
    size_t n;
};

/* Up to the separator, which is skipped. False: there is none, or nothing before it. */
static bool part_take(struct part *from, char separator, struct part *out)
{
    const char *end = memchr(from->at, separator, from->n);
    if (end == NULL || end == from->at)
        return false;
    *out = (struct part){from->at, (size_t)(end - from->at)};
    from->at += out->n + 1;
    from->n -= out->n + 1;
    return true;
}

/* The local part of a raw address, without quotes around it; its own quotes and escapes stay. False: there is no domain. */
static bool split_raw(const char *raw, struct part *local, struct part *domain, bool *quoted)
{
    size_t n = strlen(raw);
    if (n > 1 && raw[0] == '<' && raw[n - 1] == '>') {
        raw++;
        n -= 2;
    }
    const char *at = memrchr(raw, '@', n);
    if (at == NULL)
        return false;
    *local = (struct part){raw, (size_t)(at - raw)};
    *domain = (struct part){at + 1, n - local->n - 1};
    *quoted = local->n > 2 && raw[0] == '"' && at[-1] == '"';
    if (*quoted)
        *local = (struct part){raw + 1, local->n - 2};
    return true;
}

/* "hash=tt=domain=user", behind SRS0 and its separator. */
static bool srs0_undo(struct part rest, bool quoted, struct text *out)
{
    struct part hash, stamp, domain;
    const char *quote = quoted ? "\"" : "";
    if (!part_take(&rest, '=', &hash) || !part_take(&rest, '=', &stamp) || !part_take(&rest, '=', &domain) ||
        rest.n == 0)
        return false;
    text_add(out, quote);
    text_add_bytes(out, rest.at, rest.n);
    text_add(out, quote);
    text_add(out, "@");
    text_add_bytes(out, domain.at, domain.n);
    return true;
}

/* "hash=first==hash=tt=domain=user", behind SRS1 and its separator; the second '=' of "==" is the first forwarder's own. */
static bool srs1_undo(struct part rest, bool quoted, struct text *out)
{
    struct part hash, first;
    const char *quote = quoted ? "\"" : "";
    if (!part_take(&rest, '=', &hash) || !part_take(&rest, '=', &first) || rest.n < 2 ||
        strchr("=+-", rest.at[0]) == NULL || rest.at[0] == '\0')
        return false;
    text_add(out, quote);
    text_add(out, "SRS0");
    text_add_bytes(out, rest.at, rest.n);
    text_add(out, quote);
    text_add(out, "@");
    text_add_bytes(out, first.at, first.n);
    return true;
}

enum address_srs address_srs(const char *raw, char *original, size_t size,
                             char forwarder[ADDRESS_DOMAIN_MAX + 1])
{
    struct part local, domain;
    bool quoted = false;
    char host[ADDRESS_DOMAIN_MAX + 1], undone[2048];
    if (!split_raw(raw, &local, &domain, &quoted) || local.n < 6 || strncasecmp(local.at, "srs", 3) != 0 ||
        (local.at[3] != '0' && local.at[3] != '1') || strchr("=+-", local.at[4]) == NULL ||
        local.at[4] == '\0' || domain_canonical(domain.at, domain.n, host, NULL) != 0)
        return ADDRESS_SRS_NONE;
    struct text text;
    text_init(&text, undone, sizeof undone);
    struct part rest = {local.at + 5, local.n - 5};
    bool known = local.at[3] == '0' ? srs0_undo(rest, quoted, &text) : srs1_undo(rest, quoted, &text);
    memcpy(forwarder, host, sizeof host);
    if (!known || text.cut || strlen(undone) >= size)
        return ADDRESS_SRS_OPAQUE;
    memcpy(original, undone, strlen(undone) + 1);
    return ADDRESS_SRS_ORIGINAL;
}
