/* seal: see seal.h. Owns nothing: the descriptors are the caller's, and where they stand does not matter. Fails with what
 * is wrong with the file, and what to do. */
#include "seal.h"

#include "serials.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The text before the hash, with the serial in as many digits as the greatest has. */
#define SEAL_TITLE "\nrcptgate-snapshot 1\nserial "
#define SEAL_HASH "\nsha256 "

enum { SHA256_BYTES = 32, SHA256_TEXT = 2 * SHA256_BYTES + 1 }; /* in hexadecimal digits, and a NUL */

enum {
    SEAL_HASHED =
        sizeof SEAL_TITLE - 1 + SERIALS_DIGITS + sizeof SEAL_HASH - 1, /* of the seal, by its hash */
    SEAL_BYTES = SEAL_HASHED + SHA256_TEXT,                            /* a newline ends it */
    SEAL_HEAD = 100, /* the header of a database, SQLite file format 1.3 */
};

/* Reads all n bytes, or fails: EIO where the file ends before. */
static int read_at(int fd, void *bytes, size_t n, off_t at)
{
    for (char *to = bytes; n > 0;) {
        ssize_t got = pread(fd, to, n, at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            errno = EIO;
        if (got <= 0)
            return -1;
        to += got;
        at += got;
        n -= (size_t)got;
    }
    return 0;
}

static int write_at(int fd, const char *bytes, size_t n, off_t at)
{
    while (n > 0) {
        ssize_t done = pwrite(fd, bytes, n, at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return -1;
        bytes += done;
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

static int hash_parts(EVP_MD_CTX *hash, int fd, off_t size, const char *tail, size_t n_tail)
{
    char bytes[65536];
    bool good = EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1;
    for (off_t at = 0; good && at < size;) {
        size_t n = size - at < (off_t)sizeof bytes ? (size_t)(size - at) : sizeof bytes;
        if (read_at(fd, bytes, n, at) < 0)
            return -1;
        good = EVP_DigestUpdate(hash, bytes, n) == 1;
        at += (off_t)n;
    }
    if (good && EVP_DigestUpdate(hash, tail, n_tail) == 1)
        return 0;
    errno = ENOMEM;
    return -1;
}

/* SHA-256 of the first size bytes of the file and then of tail, as sha256sum(1) writes it. -1: errno says why. */
static int hash_file(int fd, off_t size, const char *tail, size_t n_tail, char text[SHA256_TEXT])
{
    unsigned char digest[SHA256_BYTES];
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    int rc = hash != NULL ? hash_parts(hash, fd, size, tail, n_tail) : -1;
    if (hash == NULL || (rc == 0 && EVP_DigestFinal_ex(hash, digest, NULL) != 1)) {
        errno = ENOMEM;
        rc = -1;
    }
    EVP_MD_CTX_free(hash);
    for (size_t i = 0; rc == 0 && i < SHA256_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return rc;
}

int aliases_seal_put(int fd, int64_t serial, const char *name, struct error *err)
{
    char seal[SEAL_BYTES + 1], text[SHA256_TEXT];
    struct stat st;
    snprintf(seal, sizeof seal, SEAL_TITLE "%0*" PRId64 SEAL_HASH, SERIALS_DIGITS, serial);
    int rc = fstat(fd, &st);
    if (rc == 0)
        rc = hash_file(fd, st.st_size, seal, SEAL_HASHED, text);
    if (rc == 0) {
        snprintf(seal + SEAL_HASHED, sizeof seal - SEAL_HASHED, "%s\n", text);
        rc = write_at(fd, seal, SEAL_BYTES, st.st_size);
    }
    if (rc < 0)
        error_set(err, "%s cannot be written: %s", name, strerror(errno));
    return rc;
}

static enum seal_check unreadable(const char *name, struct error *err)
{
    error_set(err, "%s cannot be read: %s", name, strerror(errno));
    return SEAL_UNREADABLE;
}

/* A database without files beside it: one in WAL mode may lack what is in them. */
static bool is_head(const char *head)
{
    return memcmp(head, "SQLite format 3", 16) == 0 && head[18] == 1 && head[19] == 1;
}

static bool parse(const char *seal, int64_t *serial)
{
    const size_t title = sizeof SEAL_TITLE - 1;
    int64_t n = 0;
    if (memcmp(seal, SEAL_TITLE, title) != 0 ||
        memcmp(seal + title + SERIALS_DIGITS, SEAL_HASH, sizeof SEAL_HASH - 1) != 0)
        return false;
    for (size_t i = 0; i < SERIALS_DIGITS; i++) {
        int digit = seal[title + i] - '0';
        if (digit < 0 || digit > 9)
            return false;
        n = n * 10 + digit;
    }
    *serial = n;
    return true;
}

/* *size: of what the hash is about. seal: the last bytes, less the newline. */
static enum seal_check look(int fd, const char *name, char seal[SEAL_BYTES], off_t *size, int64_t *serial,
                            struct error *err)
{
    char head[SEAL_HEAD];
    struct stat st;
    if (fstat(fd, &st) < 0)
        return unreadable(name, err);
    bool big = st.st_size > SEAL_HEAD + SEAL_BYTES;
    if (big && read_at(fd, head, sizeof head, 0) < 0)
        return unreadable(name, err);
    if (!big || !is_head(head)) {
        error_set(err, "%s is no snapshot; `rcptgate alias snapshot` makes one", name);
        return SEAL_BROKEN;
    }
    if (read_at(fd, seal, SEAL_BYTES, st.st_size - SEAL_BYTES) < 0)
        return unreadable(name, err);
    if (!parse(seal, serial) || seal[SEAL_BYTES - 1] != '\n') {
        error_set(
            err,
            "%s does not end as a snapshot does, with its serial and its checksum: it was cut off, changed, "
            "or not made by `rcptgate alias snapshot`; fetch it again",
            name);
        return SEAL_BROKEN;
    }
    *size = st.st_size - SHA256_TEXT;
    return SEAL_WHOLE;
}

enum seal_check aliases_seal_look(int fd, const char *name, int64_t *serial, struct error *err)
{
    char seal[SEAL_BYTES];
    off_t size;
    return look(fd, name, seal, &size, serial, err);
}

enum seal_check aliases_seal_check(int fd, const char *name, int64_t *serial, struct error *err)
{
    char seal[SEAL_BYTES], text[SHA256_TEXT];
    off_t size;
    int64_t n;
    enum seal_check check = look(fd, name, seal, &size, &n, err);
    if (check != SEAL_WHOLE)
        return check;
    if (hash_file(fd, size, "", 0, text) < 0)
        return unreadable(name, err);
    if (memcmp(text, seal + SEAL_HASHED, SHA256_TEXT - 1) != 0) {
        error_set(err, "%s is damaged: its SHA-256 is not the one in its last line; fetch it again", name);
        return SEAL_BROKEN;
    }
    *serial = n;
    return SEAL_WHOLE;
}
