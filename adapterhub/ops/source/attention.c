/* Attention of rows over the blocks of their own sequences, keys and values read where they lie.
 *
 *     keys   [blocks, kv_heads, head_dim, 16]     a block's 16 positions side by side
 *     values [blocks, kv_heads, 16, head_dim]
 *
 * A position's score is a sum over head_dim in order, a row's result a sum over its positions in order, so
 * neither depends on whether a row is computed alone, in a chunk of its prompt or beside other sequences.
 */
#include "kernels.h"

#define BLOCK 16
#define QUERIES 12 /* that share a look at a block of keys */

/* Rotates queries in place and keys on their way to the cache; without cos they only go there.
 *
 *     x' = x cos + rotate_half(x) sin      q [rows, heads, dim]   k, v [rows, kv_heads, dim]   cos, sin [rows, dim]
 */
INLINE float rotated(const float *x, const float *cos, const float *sin, long i, long half) {
    return i < half ? x[i] * cos[i] + -x[i + half] * sin[i] : x[i] * cos[i] + x[i - half] * sin[i];
}

void store_rows(struct team *team, long rows, struct layer layer, float *q, const float *k, const float *v,
                const float *cos, const float *sin, const int64_t *places) {
    long dim = layer.dim, half = dim / 2;
    EACH(team, row, rows, 1) {
        const float *c = cos + row * dim, *s = sin + row * dim;
        for (long head = 0; cos && head < layer.heads; head++) {
            float *x = q + (row * layer.heads + head) * dim;
            for (long i = 0; i < half; i++) {
                float low = rotated(x, c, s, i, half), high = rotated(x, c, s, i + half, half);
                x[i] = low;
                x[i + half] = high;
            }
        }
        long block = places[row] / BLOCK, offset = places[row] % BLOCK;
        for (long head = 0; head < layer.kv_heads; head++) {
            const float *x = k + (row * layer.kv_heads + head) * dim;
            long at = (block * layer.kv_heads + head) * dim * BLOCK;
            float *to = layer.keys + at + offset;
            for (long i = 0; i < dim; i++) to[i * BLOCK] = cos ? rotated(x, c, s, i, half) : x[i];
            memcpy(layer.values + at + offset * dim, v + (row * layer.kv_heads + head) * dim, (size_t)dim * sizeof(float));
        }
    }
    together(team);
}

EXPORT void adapterhub_store(long rows, struct layer layer, float *q, const float *k, const float *v, const float *cos,
                             const float *sin, const int64_t *places, int threads) {
    TEAM(team, rows > 4 ? threads : 1) store_rows(&team, rows, layer, q, k, v, cos, sin, places);
}

/* s[query, position of the block] = q . key, for `count` queries over `blocks` blocks; unscaled. */
INLINE void scores(const int count, const int blocks, const float *q, const float *const *keys, long dim, float *s,
                   long stride) {
    floats acc[QUERIES][4];
    for (int i = 0; i < count; i++)
        for (int b = 0; b < blocks; b++) acc[i][b] = splat(0.0f);
    for (long d = 0; d < dim; d++) {
        floats key[4];
        for (int b = 0; b < blocks; b++) key[b] = load(keys[b] + d * BLOCK);
#pragma GCC unroll 12
        for (int i = 0; i < count; i++) {
            floats one = splat(q[i * dim + d]);
            for (int b = 0; b < blocks; b++) acc[i][b] = fused(one, key[b], acc[i][b]);
        }
    }
    for (int i = 0; i < count; i++)
        for (int b = 0; b < blocks; b++) store(s + i * stride + b * BLOCK, acc[i][b]);
}

#define SCORES(n, b) \
    static void scores_##n##_##b(const float *q, const float *const *k, long dim, float *s, long stride) { \
        scores(n, b, q, k, dim, s, stride); \
    }
SCORES(1, 1) SCORES(2, 1) SCORES(3, 1) SCORES(4, 1) SCORES(8, 1) SCORES(12, 1)
SCORES(1, 2) SCORES(2, 2) SCORES(3, 2) SCORES(4, 2) SCORES(8, 2) SCORES(12, 2)
SCORES(1, 4) SCORES(2, 4) SCORES(3, 4) SCORES(4, 4)

static void scores_of(long count, int blocks, const float *q, const float *const *keys, long dim, float *s, long stride) {
    while (count > 0) {
        long n = count >= 12 ? 12 : count >= 8 ? 8 : count >= 4 ? 4 : count;
#define CASE(m) case m: (blocks == 2 ? scores_##m##_2 : scores_##m##_1)(q, keys, dim, s, stride); break;
#define WIDE(m) case m: (blocks == 4 ? scores_##m##_4 : blocks == 2 ? scores_##m##_2 : scores_##m##_1)(q, keys, dim, s, stride); break;
        switch (n) { WIDE(1) WIDE(2) WIDE(3) WIDE(4) CASE(8) CASE(12) }
        count -= n, q += n * dim, s += n * stride;
    }
}

/* Positions `from` to `to` of a sequence as one query's weights, in place of its scores. Returns 1 / their sum. */
static float weights(float *s, long from, long to, const struct options *o, const float *sink) {
    const ints lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    long begin = from / BLOCK * BLOCK;
    floats most = splat(-INFINITY);
    for (long p = begin; p < to; p += BLOCK) {
        floats v = load(s + p) * splat(o->scale);
        if (o->softcap != 0.0f)
            for (int i = 0; i < LANES; i++) v[i] = tanhf(v[i] / o->softcap) * o->softcap;
        int32_t low = (int32_t)(from - p), high = (int32_t)(to - p);
        v = choose((lane >= low) & (lane < high), v, splat(-INFINITY));
        store(s + p, v);
        most = choose(v > most, v, most);
    }
    float top = largest(most);
    if (sink && *sink > top) top = *sink;
    floats total = {0};
    for (long p = begin; p < to; p += BLOCK) {
        floats v = exponential(load(s + p) - splat(top));
        store(s + p, v);
        total = total + v;
    }
    float all = sum(total);
    if (sink) all += exponential(splat(*sink - top))[0];
    return 1.0f / all;
}

/* A sequence's values of one head. */
struct values {
    const float *first;
    const int64_t *places;
    long heads;
};

/* Of the block in which position p is: [16, dim]. */
INLINE const float *values_of(const struct values *v, long p, long dim) {
    return v->first + v->places[p] / BLOCK * v->heads * BLOCK * dim;
}

/* out[query, column..] = factor * sum over positions of weight * value, for 16 * parts columns. */
INLINE void mix(const int count, const int parts, const float *s, long stride, const struct values *values, long column,
                long from, long to, const float *factor, float *out, long dim) {
    floats acc[4][4];
    for (int i = 0; i < count; i++)
        for (int j = 0; j < parts; j++) acc[i][j] = splat(0.0f);
    for (long p = from; p < to;) {
        long last = p / BLOCK * BLOCK + BLOCK < to ? p / BLOCK * BLOCK + BLOCK : to;
        const float *value = values_of(values, p, dim) + p % BLOCK * dim + column;
        for (; p < last; p++, value += dim) {
            floats v[4];
            for (int j = 0; j < parts; j++) v[j] = load(value + j * LANES);
#pragma GCC unroll 4
            for (int i = 0; i < count; i++) {
                floats weight = splat(s[i * stride + p]);
                for (int j = 0; j < parts; j++) acc[i][j] = fused(weight, v[j], acc[i][j]);
            }
        }
    }
    for (int i = 0; i < count; i++)
        for (int j = 0; j < parts; j++) store(out + i * dim + column + j * LANES, acc[i][j] * splat(factor[i]));
}

#define MIX(n, m) \
    static void mix_##n##_##m(const float *s, long stride, const struct values *values, long column, long from, \
                              long to, const float *factor, float *out, long dim) { \
        mix(n, m, s, stride, values, column, from, to, factor, out, dim); \
    }
MIX(1, 1) MIX(2, 1) MIX(3, 1) MIX(4, 1)
MIX(1, 4) MIX(2, 4) MIX(3, 4) MIX(4, 4)

static void mix_columns(long count, const float *s, long stride, const struct values *values, long from, long to,
                        const float *factor, float *out, long dim) {
    while (count > 0) {
        long n = count >= 4 ? 4 : count, j = 0;
#define MIX_CASE(i, m) case i: mix_##i##_##m(s, stride, values, j, from, to, factor, out, dim); break;
        for (; j + 4 * LANES <= dim; j += 4 * LANES)
            switch (n) { MIX_CASE(1, 4) MIX_CASE(2, 4) MIX_CASE(3, 4) MIX_CASE(4, 4) }
        for (; j + LANES <= dim; j += LANES)
            switch (n) { MIX_CASE(1, 1) MIX_CASE(2, 1) MIX_CASE(3, 1) MIX_CASE(4, 1) }
        for (; j < dim; j++)
            for (long i = 0; i < n; i++) {
                float acc = 0.0f;
                for (long p = from; p < to; p++) acc += s[i * stride + p] * values_of(values, p, dim)[p % BLOCK * dim + j];
                out[i * dim + j] = acc * factor[i];
            }
        count -= n, s += n * stride, factor += n, out += n * dim;
    }
}

/* The queries of `rows` rows from position `start` on that share one head of keys and values. */
static void attend(const struct layer *layer, const struct chunk *c, long start, long rows, long kv_head,
                   const struct options *o, const float *q, float *out, float *room, long stride) {
    long dim = layer->dim, share = layer->heads / layer->kv_heads, count = rows * share;
    float *queries = room, *s = room + count * dim; /* [count, dim], [count, stride] */
    float factor[count];
    for (long i = 0; i < rows; i++) {
        long row = c->row + start - c->start + i;
        const float *from = q + (row * layer->heads + kv_head * share) * dim;
        memcpy(queries + i * share * dim, from, (size_t)(share * dim) * sizeof(float));
    }
    long stop = start + rows, first = o->window && start + 1 > o->window ? start + 1 - o->window : 0;
    for (long p = first / BLOCK * BLOCK; p < stop;) {
        const float *keys[4];
        int blocks = count <= 4 && p + 3 * BLOCK < stop ? 4 : p + BLOCK < stop ? 2 : 1;
        for (int b = 0; b < blocks; b++)
            keys[b] = layer->keys + (c->places[p + b * BLOCK] / BLOCK * layer->kv_heads + kv_head) * dim * BLOCK;
        scores_of(count, blocks, queries, keys, dim, s + p, stride);
        p += blocks * BLOCK;
    }
    struct values values = {layer->values + kv_head * BLOCK * dim, c->places, layer->kv_heads};
    for (long i = 0; i < rows; i++) {
        long to = start + i + 1, from = o->window && to > o->window ? to - o->window : 0;
        long row = c->row + start - c->start + i, head = kv_head * share;
        for (long j = 0; j < share; j++)
            factor[j] = weights(s + (i * share + j) * stride, from, to, o, o->sinks ? o->sinks + head + j : NULL);
        mix_columns(share, s + i * share * stride, stride, &values, from, to, factor,
                    out + (row * layer->heads + head) * dim, dim);
    }
}

INLINE long rows_at_once(const struct layer *layer) {
    long share = layer->heads / layer->kv_heads;
    return share < QUERIES ? QUERIES / share : 1;
}

static long scores_stride(long chunks, const struct chunk *c) {
    long longest = 0;
    for (long i = 0; i < chunks; i++) longest = c[i].stop > longest ? c[i].stop : longest;
    return (longest + BLOCK - 1) / BLOCK * BLOCK;
}

/* Floats that each thread needs. */
size_t attention_room(const struct layer *layer, long chunks, const struct chunk *c) {
    long share = layer->heads / layer->kv_heads;
    return (size_t)(rows_at_once(layer) * share * (layer->dim + scores_stride(chunks, c)));
}

/* q, out [rows, heads, dim]; `room` is the thread's own. */
void attend_rows(struct team *team, const struct layer *layer, long chunks, const struct chunk *c,
                 const struct options *o, const float *q, float *out, float *room) {
    long rows = rows_at_once(layer), stride = scores_stride(chunks, c);
    long first[chunks + 1];
    first[0] = 0;
    for (long i = 0; i < chunks; i++) first[i + 1] = first[i] + (c[i].stop - c[i].start + rows - 1) / rows;
    EACH(team, task, first[chunks] * layer->kv_heads, 1) {
        long index = task / layer->kv_heads, chunk = 0;
        while (index >= first[chunk + 1]) chunk++;
        long start = c[chunk].start + (index - first[chunk]) * rows;
        long left = c[chunk].stop - start;
        attend(layer, c + chunk, start, left < rows ? left : rows, task % layer->kv_heads, o, q, out, room, stride);
    }
    together(team);
}

/* Returns 0, or 1 when there is no memory. */
EXPORT int adapterhub_attend(struct layer layer, long chunks, const struct chunk *c, struct options o, const float *q,
                             float *out, int threads) {
    size_t room = attention_room(&layer, chunks, c);
    float *all = malloc((size_t)threads * room * sizeof(float));
    if (!all) return 1;
    TEAM(team, chunks * layer.kv_heads > 1 ? threads : 1)
    attend_rows(&team, &layer, chunks, c, &o, q, out, all + (size_t)member() * room);
    free(all);
    return 0;
}
