/* Sixteen floats at a time.
 *
 * Every sum here has one order, given by the row's own length: how many rows a call has, which thread takes
 * one and what stands beside it change nothing. The compiler may not fuse or reorder (-ffp-contract=off);
 * where a fused multiply-add is meant, it is written.
 */
#ifndef ADAPTERHUB_VECTOR_H
#define ADAPTERHUB_VECTOR_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512F__) || defined(__FMA__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define EXPORT __attribute__((visibility("default")))
#define LANES 16

typedef float floats __attribute__((vector_size(64)));
typedef int32_t ints __attribute__((vector_size(64)));
typedef uint32_t unsigned_ints __attribute__((vector_size(64)));
typedef float eight_floats __attribute__((vector_size(32)));
typedef float unaligned_floats __attribute__((vector_size(64), aligned(4), may_alias));

INLINE floats load(const float *p) { return *(const unaligned_floats *)p; }

INLINE void store(float *p, floats v) { *(unaligned_floats *)p = v; }

/* The first n < 16 floats, and zeros. */
INLINE floats load_part(const float *p, long n) {
    floats v = {0};
    memcpy(&v, p, (size_t)n * sizeof(float));
    return v;
}

INLINE void store_part(float *p, floats v, long n) { memcpy(p, &v, (size_t)n * sizeof(float)); }

INLINE floats splat(float x) { return (floats){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }

/* a * b + c, rounded once where the processor can. */
INLINE floats fused(floats a, floats b, floats c) {
#if defined(__AVX512F__)
    return (floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    union { floats all; __m256 half[2]; } x = {a}, y = {b}, z = {c};
    z.half[0] = _mm256_fmadd_ps(x.half[0], y.half[0], z.half[0]);
    z.half[1] = _mm256_fmadd_ps(x.half[1], y.half[1], z.half[1]);
    return z.all;
#else
    return a * b + c;
#endif
}

/* In a register: where a compiler sees a value used some times it may read it from memory each time. */
INLINE floats held(floats v) {
#if defined(__AVX512F__)
    __asm__("" : "+v"(v));
#endif
    return v;
}

INLINE floats choose(ints mask, floats a, floats b) { return (floats)(((ints)a & mask) | ((ints)b & ~mask)); }

INLINE float sum(floats v) {
    union { floats all; eight_floats half[2]; } x = {v};
    union { eight_floats all; float one[8]; } y = {x.half[0] + x.half[1]};
    float a = y.one[0] + y.one[4], b = y.one[1] + y.one[5], c = y.one[2] + y.one[6], d = y.one[3] + y.one[7];
    return (a + c) + (b + d);
}

/* sum() of each of v[i][r], in lane 4 * i + r: by the same additions. */
INLINE floats sums_of_sixteen(const floats *v0, const floats *v1, const floats *v2, const floats *v3) {
#if defined(__AVX512F__)
    __m512 w[4];
    for (int r = 0; r < 4; r++) {
        __m512 a = (__m512)v0[r], b = (__m512)v1[r], c = (__m512)v2[r], d = (__m512)v3[r];
        __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
        __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
        w[r] = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    }
#define PAIRS(a, b) \
    _mm512_add_ps((__m512)_mm512_unpacklo_pd((__m512d)(a), (__m512d)(b)), \
                  (__m512)_mm512_unpackhi_pd((__m512d)(a), (__m512d)(b)))
    __m512 low = PAIRS(w[0], w[1]), high = PAIRS(w[2], w[3]);
#undef PAIRS
    return (floats)_mm512_add_ps(_mm512_shuffle_ps(low, high, 0x88), _mm512_shuffle_ps(low, high, 0xdd));
#else
    const floats *v[4] = {v0, v1, v2, v3};
    floats sums;
    for (int i = 0; i < 16; i++) sums[i] = sum(v[i / 4][i % 4]);
    return sums;
#endif
}

/* The largest; lanes that are no number do not count. */
INLINE float largest(floats v) {
    float found = -INFINITY;
    for (int i = 0; i < LANES; i++) found = v[i] > found ? v[i] : found;
    return found;
}

/* e^x to about one unit in the last place; what is no number stays so. Polynomial: Cephes, expf. */
INLINE floats exponential(floats x) {
    const floats magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
    floats shifted = fused(x, splat(1.44269504088896341f), magic);
    floats n = shifted - magic;
    floats r = fused(n, splat(-0.693359375f), x);
    r = fused(n, splat(2.12194440e-4f), r);
    floats p = splat(1.9875691500e-4f);
    p = fused(p, r, splat(1.3981999507e-3f));
    p = fused(p, r, splat(8.3334519073e-3f));
    p = fused(p, r, splat(4.1665795894e-2f));
    p = fused(p, r, splat(1.6666665459e-1f));
    p = fused(p, r, splat(5.0000001201e-1f));
    p = fused(p, r * r, r) + splat(1.0f);
    floats result = (floats)((ints)p + (((ints)shifted - (ints)magic) << 23));
    result = choose(x < splat(-87.0f), splat(0.0f), result);
    result = choose(x > splat(88.0f), splat(INFINITY), result);
    return choose(x == x, result, x);
}

#endif
