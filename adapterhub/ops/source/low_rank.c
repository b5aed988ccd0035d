/* The two products of an update, B f(A z + bias), for rows of one segment.
 *
 * A lies in tiles of 16 columns, [in / 16, rank, 16] and [rank, in % 16] behind them, B transposed the same way: both
 * are read from one end to the other. They may be in 16 bits: they are widened, and the sums are those of the same
 * numbers in 32.
 */
#include "numbers.h"

#define ROWS UPDATE_ROWS

EXPORT long adapterhub_has_float16(void) { return HAS_FLOAT16; }

INLINE void ask(const int kind, const void *p, long i) {
    __builtin_prefetch((const char *)p + i * (kind == FLOAT32 ? 4 : 2) + AHEAD, 0, 1);
}

/* u[row, r] = A[r] . z[row] */
INLINE void shrink_some(const int kind, const int rows, const int ranks, const struct update *w, long first,
                        const float *z, long in, float *u) {
    floats acc[ROWS][8];
    for (int i = 0; i < rows; i++)
        for (int r = 0; r < ranks; r++) acc[i][r] = splat(0.0f);
    long k = 0, at = first * LANES;
    for (; k + LANES <= in; k += LANES, at += w->rank * LANES)
#pragma GCC unroll 8
        for (int r = 0; r < ranks; r++) {
            floats a = held(load_as(kind, w->a, at + r * LANES));
            if (kind == FLOAT32 || r % 2 == 0) ask(kind, w->a, at + r * LANES);
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++) acc[i][r] = fused(load(z + i * in + k), a, acc[i][r]);
        }
    long left = in - k;
    if (left)
        for (int r = 0; r < ranks; r++) {
            floats a = load_part_as(kind, w->a, k * w->rank + (first + r) * left, left);
            for (int i = 0; i < rows; i++) acc[i][r] = fused(load_part(z + i * in + k, left), a, acc[i][r]);
        }
    if (rows == 4 && ranks == 4) {
        floats sums = sums_of_sixteen(acc[0], acc[1], acc[2], acc[3]);
        for (int i = 0; i < 4; i++) memcpy(u + i * w->rank + first, (const float *)&sums + 4 * i, 4 * sizeof(float));
        return;
    }
    for (int i = 0; i < rows; i++)
        for (int r = 0; r < ranks; r++) u[i * w->rank + first + r] = sum(acc[i][r]);
}

INLINE void shrink_all(const int kind, const int rows, const int step, const struct update *w, const float *z, long in,
                       float *u) {
    long r = 0;
    for (; r + step <= w->rank; r += step) shrink_some(kind, rows, step, w, r, z, in, u);
    if (step > 4 && r + 4 <= w->rank) { shrink_some(kind, rows, 4, w, r, z, in, u); r += 4; }
    if (r + 2 <= w->rank) { shrink_some(kind, rows, 2, w, r, z, in, u); r += 2; }
    if (r < w->rank) shrink_some(kind, rows, 1, w, r, z, in, u);
}

INLINE floats activated(const int activation, floats x) {
    if (activation == RELU) return choose(x < splat(0.0f), splat(0.0f), x);
    if (activation == SILU) return x / (splat(1.0f) + exponential(-x));
    for (int i = 0; i < LANES; i++) {
        float v = x[i];
        if (activation == GELU) x[i] = 0.5f * v * (1.0f + erff(v * 0.70710678118654752f));
        else x[i] = 0.5f * v * (1.0f + tanhf(0.79788456080286536f * (v + 0.044715f * v * v * v)));
    }
    return x;
}

static void activate(const struct update *w, float *u) {
    for (long r = 0; r < w->rank; r += LANES) {
        long n = w->rank - r < LANES ? w->rank - r : LANES;
        floats x = load_part(u + r, n);
        if (w->bias) x = x + load_part(w->bias + r, n);
        switch (w->activation) {
        case RELU: x = activated(RELU, x); break;
        case SILU: x = activated(SILU, x); break;
        case GELU: x = activated(GELU, x); break;
        case GELU_TANH: x = activated(GELU_TANH, x); break;
        }
        store_part(u + r, x, n);
    }
}

INLINE floats shifted(const struct update *w, floats own, floats change, long column) {
    if (w->scale) own = own * load(w->scale + column);
    own = own + change;
    return w->shift ? own + load(w->shift + column) : own;
}

/* One tile of B, or two of the output's tiles at once; only the former are read from one end to the other. */
INLINE void expand_some(const int kind, const int rows, const int tiles, const struct update *w, const float *u,
                        float *y, long out, long column) {
    long rank = w->rank;
    floats acc[ROWS][2];
    for (int i = 0; i < rows; i++) acc[i][0] = acc[i][1] = splat(0.0f);
    for (long r = 0, at = column * rank; r < rank; r++, at += LANES) {
        floats b = held(load_as(kind, w->b, at)), c = b;
        if (tiles == 2) c = held(load_as(kind, w->b, at + LANES * rank));
        else if (kind == FLOAT32 || r % 2 == 0) ask(kind, w->b, at);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            floats v = splat(u[i * rank + r]);
            if (tiles == 2) v = held(v);
            acc[i][0] = fused(v, b, acc[i][0]);
            if (tiles == 2) acc[i][1] = fused(v, c, acc[i][1]);
        }
    }
    for (int i = 0; i < rows; i++)
        for (int t = 0; t < tiles; t++) {
            float *to = y + i * out + column + t * LANES;
            store(to, shifted(w, load(to), acc[i][t], column + t * LANES));
        }
}

/* The n < 16 columns at the end of a row. */
INLINE void expand_end(const int kind, const struct update *w, const float *u, float *y, long column, long n) {
    floats change = splat(0.0f), own = load_part(y + column, n);
    for (long r = 0, at = column * w->rank; r < w->rank; r++, at += n)
        change = fused(splat(u[r]), load_part_as(kind, w->b, at, n), change);
    if (w->scale) own = own * load_part(w->scale + column, n);
    own = own + change;
    if (w->shift) own = own + load_part(w->shift + column, n);
    store_part(y + column, own, n);
}

INLINE void expand_all(const int kind, const int rows, const struct update *w, const float *u, float *y, long out,
                       long column, long stop) {
    for (; column + LANES <= stop; column += LANES) expand_some(kind, rows, 1, w, u, y, out, column);
    for (int i = 0; i < rows && column < stop; i++)
        expand_end(kind, w, u + i * w->rank, y + i * out, column, stop - column);
}

INLINE void expand(const int kind, const struct update *w, long rows, const float *u, float *y, long out, long column,
                   long stop) {
    long row = 0;
    if (stop - column == 2 * LANES) { /* of a tile of the product: the thread's next ones are asked for */
        long bytes = w->rank * LANES * (kind == FLOAT32 ? 4 : 2);
        const char *b = (const char *)w->b + column / LANES * bytes + AHEAD;
        for (long i = 0; i < 2 * bytes; i += 64) __builtin_prefetch(b + i, 0, 1);
        for (; row + ROWS <= rows; row += ROWS)
            expand_some(kind, ROWS, 2, w, u + row * w->rank, y + row * out, out, column);
        for (; row < rows; row++) expand_some(kind, 1, 2, w, u + row * w->rank, y + row * out, out, column);
        return;
    }
    for (; row + ROWS <= rows; row += ROWS)
        expand_all(kind, ROWS, w, u + row * w->rank, y + row * out, out, column, stop);
    for (; row < rows; row++) expand_all(kind, 1, w, u + row * w->rank, y + row * out, out, column, stop);
}

/* u = A z; a single row has room for more ranks at a time. */
INLINE void shrink(const int kind, const struct update *w, long rows, const float *z, long in, float *u) {
    long row = 0;
    for (; row + ROWS <= rows; row += ROWS) shrink_all(kind, ROWS, 4, w, z + row * in, in, u + row * w->rank);
    for (; row < rows; row++) shrink_all(kind, 1, 8, w, z + row * in, in, u + row * w->rank);
}

/* Functions for each kind of numbers. */
#define KIND(kind) \
    static void shrink_##kind(const struct update *w, long rows, const float *z, long in, float *u) { \
        shrink(kind, w, rows, z, in, u); \
    } \
    static void expand_##kind(const struct update *w, long rows, const float *u, float *y, long out, long column, \
                              long stop) { \
        expand(kind, w, rows, u, y, out, column, stop); \
    }
KIND(FLOAT32) KIND(BFLOAT16) KIND(FLOAT16)

/* u = f(A z + bias) */
void shrink_rows(const struct update *w, long rows, const float *z, long in, float *u) {
    if (!w->rank) return;
    switch (w->a_kind) {
    case FLOAT32: shrink_FLOAT32(w, rows, z, in, u); break;
    case BFLOAT16: shrink_BFLOAT16(w, rows, z, in, u); break;
    default: shrink_FLOAT16(w, rows, z, in, u);
    }
    if (w->activation || w->bias)
        for (long row = 0; row < rows; row++) activate(w, u + row * w->rank);
}

/* y = scale * y + B u + shift, columns `column` to `stop`; `column` is the first of a tile. */
void expand_rows(const struct update *w, long rows, const float *u, float *y, long out, long column, long stop) {
    switch (w->b_kind) {
    case FLOAT32: expand_FLOAT32(w, rows, u, y, out, column, stop); break;
    case BFLOAT16: expand_BFLOAT16(w, rows, u, y, out, column, stop); break;
    default: expand_FLOAT16(w, rows, u, y, out, column, stop);
    }
}
