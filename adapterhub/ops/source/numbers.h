/* Numbers in 16 bits, widened where they are read: a bfloat16 is the upper half of a float. */
#ifndef ADAPTERHUB_NUMBERS_H
#define ADAPTERHUB_NUMBERS_H

#include "kernels.h"

typedef uint16_t halves __attribute__((vector_size(32)));
typedef uint16_t unaligned_halves __attribute__((vector_size(32), aligned(2), may_alias));

#if defined(__AVX512F__) || defined(__F16C__)
#define HAS_FLOAT16 1
#else
#define HAS_FLOAT16 0
#endif

INLINE floats widened(const int kind, halves h) {
#if defined(__AVX512F__)
    if (kind == FLOAT16) return (floats)_mm512_cvtph_ps((__m256i)h);
#elif defined(__F16C__)
    if (kind == FLOAT16) {
        union { halves all; __m128i half[2]; } x = {h};
        union { __m256 half[2]; floats all; } y = {.half = {_mm256_cvtph_ps(x.half[0]), _mm256_cvtph_ps(x.half[1])}};
        return y.all;
    }
#endif
    return (floats)(__builtin_convertvector(h, ints) << 16);
}

/* Sixteen numbers from the i-th on, or the first n < 16 of them and zeros. */
INLINE floats load_as(const int kind, const void *p, long i) {
    if (kind == FLOAT32) return load((const float *)p + i);
    return widened(kind, *(const unaligned_halves *)((const uint16_t *)p + i));
}

INLINE floats load_part_as(const int kind, const void *p, long i, long n) {
    if (kind == FLOAT32) return load_part((const float *)p + i, n);
    halves h = {0};
    memcpy(&h, (const uint16_t *)p + i, (size_t)n * sizeof(uint16_t));
    return widened(kind, h);
}

#endif
