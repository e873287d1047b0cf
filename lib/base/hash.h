/* hash: SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF") of bytes. Pure. With a secret seed,
 * what strangers choose cannot pile up in one bucket. */
#ifndef RCPTGATE_BASE_HASH_H
#define RCPTGATE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Fills the seed with what nobody can guess; once for each table. */
void hash_seed(uint64_t seed[2]);

uint64_t hash_bytes(const uint64_t seed[2], const void *bytes, size_t n);
uint64_t hash_string(const uint64_t seed[2], const char *string);

/* FNV-1a (Fowler, Noll, Vo), 64 bits, a byte at a time: the same on every host and in every version, for names in Redis; anybody can find two
 * that meet. */
#define HASH_FNV UINT64_C(0xcbf29ce484222325) /* of nothing */
static inline uint64_t hash_fnv(uint64_t hash, unsigned char byte)
{
    return (hash ^ byte) * UINT64_C(0x100000001b3);
}

#endif
