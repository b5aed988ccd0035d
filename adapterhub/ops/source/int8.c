/* Products of int8 rows with an int8 weight, whose sums are exact: their order does not matter.
 *
 *     y[i] = (q[i] @ W.T) * s[i] * sw + b      two multiplications in this order, as adapterhub.base.int8
 *
 * A weight is packed in tiles of 32 outputs, [out / 32, k / 4, 32, 4], with 128 added to each value, for the
 * processor multiplies unsigned by signed bytes; 128 times the row's sum is taken away again.
 */
#include "kernels.h"

#define TILE 32
#define MOST_ROWS 12

EXPORT long adapterhub_int8_tile(void) {
#if defined(__AVX512VNNI__)
    return TILE;
#else
    return 0; /* torch's is faster than what could be written here */
#endif
}

#if defined(__AVX512VNNI__)

INLINE void finish(__m512i acc, long row, long column, const struct quantized *q, const struct matrix *m) {
    long n = m->out - column;
    if (n <= 0) return;
    __mmask16 mask = n >= LANES ? 0xffff : (__mmask16)((1u << n) - 1);
    __m512i exact = _mm512_sub_epi32(acc, _mm512_set1_epi32(128 * q->sum[row]));
    __m512 y = _mm512_mul_ps(_mm512_cvtepi32_ps(exact), _mm512_set1_ps(q->scale[row]));
    y = _mm512_mul_ps(y, _mm512_maskz_loadu_ps(mask, m->scale + column));
    if (m->bias) y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(mask, m->bias + column));
    _mm512_mask_storeu_ps(m->y + row * m->out + column, mask, y);
}

INLINE void tile_rows(const int rows, long first, long groups, long tile, const struct quantized *q,
                      const struct matrix *m, const char *next, const char *wanted) {
    const uint8_t *w = m->weight + tile * groups * 4 * TILE;
    const int8_t *x = q->values + first * q->stride;
    __m512i left[MOST_ROWS], right[MOST_ROWS];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) left[i] = right[i] = _mm512_setzero_si512();
    for (long g = 0; g < groups; g++, w += 4 * TILE) {
        __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 64);
        if (next) {
            __builtin_prefetch(next + 128 * g, 0, 2);
            __builtin_prefetch(next + 128 * g + 64, 0, 2);
        }
        if (wanted) {
            __builtin_prefetch(wanted + 128 * g, 0, 2);
            __builtin_prefetch(wanted + 128 * g + 64, 0, 2);
        }
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            int32_t four;
            memcpy(&four, x + i * q->stride + 4 * g, sizeof four);
            __m512i v = _mm512_set1_epi32(four);
            left[i] = _mm512_dpbusd_epi32(left[i], w0, v);
            right[i] = _mm512_dpbusd_epi32(right[i], w1, v);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        finish(left[i], first + i, tile * TILE, q, m);
        finish(right[i], first + i, tile * TILE + LANES, q, m);
    }
}

/* Rows of one tile. The first of them ask for the thread's next tile, and all for as many bytes of what its tasks read
 * as the weight has. */
#define PASS(rows) \
    static void pass_##rows(long row, long groups, long tile, const struct quantized *q, const struct matrix *m, \
                            struct mine *mine, long threads) { \
        const char *next = (const char *)(m->weight + (tile + threads) * groups * 4 * TILE); \
        if (mine && mine->at >= mine->end) ask_next(mine); \
        const char *at = mine ? mine->at : NULL; \
        if (!at) tile_rows(rows, row, groups, tile, q, m, next, NULL); \
        else if (row) tile_rows(rows, row, groups, tile, q, m, NULL, at); \
        else tile_rows(rows, row, groups, tile, q, m, next, at); \
        if (at) mine->at = at + 4 * TILE * groups; \
    }
PASS(12) PASS(8) PASS(4) PASS(2) PASS(1)

static long pass(long left, long row, long groups, long tile, const struct quantized *q, const struct matrix *m,
                 struct mine *mine, long threads) {
    if (left >= 12) { pass_12(row, groups, tile, q, m, mine, threads); return 12; }
    if (left >= 8) { pass_8(row, groups, tile, q, m, mine, threads); return 8; }
    if (left >= 4) { pass_4(row, groups, tile, q, m, mine, threads); return 4; }
    if (left >= 2) { pass_2(row, groups, tile, q, m, mine, threads); return 2; }
    pass_1(row, groups, tile, q, m, mine, threads);
    return 1;
}

/* What segments add to rows `row` to `stop` of a tile, while these are near. Returns the first that is not done. */
static const struct segment *change(const struct joined *j, const struct segment *s, long row, long stop, long place,
                                    long tile, const struct matrix *m) {
    long column = tile * TILE, width = m->out - column < TILE ? m->out - column : TILE;
    for (const struct segment *end = j->s + j->segments; s < end && s->start < stop; s++) {
        long first = s->start > row ? s->start : row, last = s->stop < stop ? s->stop : stop;
        expand_tile(j, s, place, first, last, m->y, column, width);
        if (s->stop > stop) break;
    }
    return s;
}

static void one_tile(long rows, long groups, long tile, const struct quantized *q, const struct matrix *m, long place,
                     const struct joined *j, struct mine *mine, long threads) {
    const struct segment *s = j ? j->s : NULL;
    for (long row = 0, done; row < rows; row += done) {
        done = pass(rows - row, row, groups, tile, q, m, mine, threads);
        if (j) s = change(j, s, row, row + done, place, tile, m);
    }
}

/* Several weights that share an input of `groups` times 4 values. `j` and `mine` may be null. */
void int8_matmul(struct team *team, long rows, long groups, const struct quantized *q, long count,
                 const struct matrix *m, const struct joined *j, struct mine *mine) {
    long tiles = 0;
    for (long i = 0; i < count; i++) tiles += (m[i].out + TILE - 1) / TILE;
    long each = tiles / team->threads, done = 0;
    long share = mine ? (mine->tasks / mine->step + 1 + each) / (each > 1 ? each - 1 : 1) : 0;
    EACH(team, tile, tiles, 1) {
        const struct matrix *own = m;
        long index = tile, own_tiles;
        while (index >= (own_tiles = (own->out + TILE - 1) / TILE)) index -= own_tiles, own++;
        if (mine && done++) shrink_mine(mine, share); /* A was asked for while the tile before was computed */
        one_tile(rows, groups, index, q, own, own - m, j, mine, team->threads);
    }
    if (mine) shrink_mine(mine, mine->tasks);
    together(team);
}

EXPORT void adapterhub_int8_matmul(long rows, long groups, struct quantized q, long count, const struct matrix *m,
                                   int threads) {
    TEAM(team, threads) int8_matmul(&team, rows, groups, &q, count, m, NULL, NULL);
}

#endif
