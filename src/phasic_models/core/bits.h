/* Rows of bits, 64 to a word. */
#ifndef PM_BITS_H
#define PM_BITS_H

#include <stdint.h>

#if defined(_MSC_VER)
#include <intrin.h>
#endif

static inline int32_t pm_words(int32_t n) { return n / 64 + (n % 64 != 0); }

static inline int32_t pm_popcount(uint64_t x) {
#if defined(__GNUC__) || defined(__clang__)
    return __builtin_popcountll(x);
#else
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (int32_t)((x * 0x0101010101010101u) >> 56);
#endif
}

/* Position of the lowest set bit; x must not be 0. */
static inline int32_t pm_lowest(uint64_t x) {
#if defined(__GNUC__) || defined(__clang__)
    return __builtin_ctzll(x);
#elif defined(_MSC_VER) && (defined(_M_X64) || defined(_M_ARM64))
    unsigned long position;
    _BitScanForward64(&position, x);
    return (int32_t)position;
#else
    return pm_popcount((x & (~x + 1)) - 1);
#endif
}

static inline void pm_bit_set(uint64_t *row, int32_t i) { row[i >> 6] |= (uint64_t)1 << (i & 63); }
static inline void pm_bit_clear(uint64_t *row, int32_t i) { row[i >> 6] &= ~((uint64_t)1 << (i & 63)); }
static inline int pm_bit_test(const uint64_t *row, int32_t i) { return (int)((row[i >> 6] >> (i & 63)) & 1u); }

#endif
