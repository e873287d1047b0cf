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

#endif
