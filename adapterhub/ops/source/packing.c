/* The numbers of an adapter's updates, from where a method left them to where update_rows reads them.
 *
 * One call for all of them, with nothing else held up: `measure` finds how narrow each can be and where it goes,
 * `fill` writes them there. adapterhub/ops/updates.py says the same in torch.
 */
#include "numbers.h"

/* Numbers [rank, width] in 32 bits, in any order in memory; a vector is one of rank 1. */
struct numbers {
    const float *from;
    long rank, width, rank_step, width_step; /* steps in floats */
    long start;                              /* bytes from the beginning of the memory they go to */
    int is_matrix;                           /* whether it lies in tiles there, and may be in 16 bits */
    int kind;
};

/* Whether all of sixteen numbers are ones of 16 bits; what is no number is none. */
INLINE int fits(const int kind, floats v) {
    ints same;
    if (kind == BFLOAT16) {
        same = ((ints)v << 16 == 0) & (v == v);
    } else {
#if defined(__AVX512F__)
        __m256i h = _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        same = (floats)_mm512_cvtph_ps(h) == v;
#elif defined(__F16C__)
        union { floats all; __m256 half[2]; } x = {v};
        for (int i = 0; i < 2; i++) x.half[i] = _mm256_cvtph_ps(_mm256_cvtps_ph(x.half[i], _MM_FROUND_TO_NEAREST_INT));
        same = x.all == v;
#else
        return 0;
#endif
    }
    int all = -1;
    for (int i = 0; i < LANES; i++) all &= same[i];
    return all;
}

/* Sixteen numbers of a rank from column k on, or the first n < 16 of them and zeros. */
INLINE floats columns(const struct numbers *m, long rank, long k, long n) {
    const float *p = m->from + rank * m->rank_step + k * m->width_step;
    if (m->width_step == 1) return n == LANES ? load(p) : load_part(p, n);
    floats v = {0};
    for (long i = 0; i < n; i++) v[i] = p[i * m->width_step];
    return v;
}

static int all_fit(const int kind, const struct numbers *m) {
    for (long rank = 0; rank < m->rank; rank++)
        for (long k = 0; k < m->width; k += LANES)
            if (!fits(kind, columns(m, rank, k, m->width - k < LANES ? m->width - k : LANES))) return 0;
    return 1;
}

/* Bytes of memory that all of them take together. */
EXPORT long adapterhub_measure(long count, struct numbers *numbers) {
    long size = 0;
    for (struct numbers *m = numbers; m < numbers + count; m++) {
        m->kind = FLOAT32;
        if (m->is_matrix && m->rank * m->width) {
            if (all_fit(BFLOAT16, m)) m->kind = BFLOAT16;
            else if (HAS_FLOAT16 && all_fit(FLOAT16, m)) m->kind = FLOAT16;
        }
        long bytes = m->kind == FLOAT32 ? 4 : 2;
        m->start = (size + bytes - 1) / bytes * bytes;
        size = m->start + m->rank * m->width * bytes;
    }
    return size;
}

/* n <= 16 numbers, the i-th and those behind it. */
INLINE void put(const int kind, void *p, long i, floats v, long n) {
    if (kind == FLOAT32) {
        if (n == LANES) store((float *)p + i, v);
        else store_part((float *)p + i, v, n);
        return;
    }
    halves h;
#if defined(__AVX512F__)
    if (kind == FLOAT16) h = (halves)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    else
#elif defined(__F16C__)
    if (kind == FLOAT16) {
        union { floats all; __m256 half[2]; } x = {v};
        union { __m128i half[2]; halves all; } y;
        for (int i = 0; i < 2; i++) y.half[i] = _mm256_cvtps_ph(x.half[i], _MM_FROUND_TO_NEAREST_INT);
        h = y.all;
    } else
#endif
        h = __builtin_convertvector((unsigned_ints)v >> 16, halves);
    memcpy((uint16_t *)p + i, &h, (size_t)n * sizeof(uint16_t));
}

INLINE void fill_as(const int kind, const struct numbers *m, char *memory) {
    void *to = memory + m->start;
    long at = 0;
    for (long k = 0; k < m->width; k += LANES) {
        long n = m->width - k < LANES ? m->width - k : LANES;
        for (long rank = 0; rank < m->rank; rank++, at += n) put(kind, to, at, columns(m, rank, k, n), n);
    }
}

EXPORT void adapterhub_fill(long count, const struct numbers *numbers, char *memory) {
    for (const struct numbers *m = numbers; m < numbers + count; m++) {
        if (m->kind == BFLOAT16) fill_as(BFLOAT16, m, memory);
        else if (m->kind == FLOAT16) fill_as(FLOAT16, m, memory);
        else fill_as(FLOAT32, m, memory);
    }
}
