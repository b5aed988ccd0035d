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
INLINE void shrink(const int kind, const int rows, const int ranks, const struct update *w, long first, const float *z,
                   long in, float *u) {
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
    for (; r + step <= w->rank; r += step) shrink(kind, rows, step, w, r, z, in, u);
    if (step > 4 && r + 4 <= w->rank) { shrink(kind, rows, 4, w, r, z, in, u); r += 4; }
    if (r + 2 <= w->rank) { shrink(kind, rows, 2, w, r, z, in, u); r += 2; }
    if (r < w->rank) shrink(kind, rows, 1, w, r, z, in, u);
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

/* Two tiles of B at once. */
INLINE void expand_two(const int kind, const int rows, const struct update *w, const float *u, float *y, long out,
                       long column) {
    floats left[ROWS], right[ROWS];
    for (int i = 0; i < rows; i++) left[i] = right[i] = splat(0.0f);
    for (long r = 0, at = column * w->rank, half = LANES * w->rank; r < w->rank; r++, at += LANES) {
        floats b = held(load_as(kind, w->b, at)), c = held(load_as(kind, w->b, at + half));
        if (kind == FLOAT32 || r % 2 == 0) ask(kind, w->b, at), ask(kind, w->b, at + half);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            floats v = held(splat(u[i * w->rank + r]));
            left[i] = fused(v, b, left[i]);
            right[i] = fused(v, c, right[i]);
        }
    }
    for (int i = 0; i < rows; i++) {
        float *to = y + i * out + column;
        store(to, shifted(w, load(to), left[i], column));
        store(to + LANES, shifted(w, load(to + LANES), right[i], column + LANES));
    }
}

/* n == 16, or fewer at the end of a row. */
INLINE void expand(const int kind, const int rows, const struct update *w, const float *u, float *y, long out,
                   long column, long n) {
    floats acc[ROWS];
    for (int i = 0; i < rows; i++) acc[i] = splat(0.0f);
    for (long r = 0, at = column * w->rank; r < w->rank; r++, at += n) {
        floats b = n == LANES ? load_as(kind, w->b, at) : load_part_as(kind, w->b, at, n);
        if (n == LANES && (kind == FLOAT32 || r % 2 == 0)) ask(kind, w->b, at);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) acc[i] = fused(splat(u[i * w->rank + r]), b, acc[i]);
    }
    for (int i = 0; i < rows; i++) {
        float *to = y + i * out + column;
        floats own = n == LANES ? load(to) : load_part(to, n);
        if (w->scale) own = own * (n == LANES ? load(w->scale + column) : load_part(w->scale + column, n));
        own = own + acc[i];
        if (w->shift) own = own + (n == LANES ? load(w->shift + column) : load_part(w->shift + column, n));
        if (n == LANES) store(to, own); else store_part(to, own, n);
    }
}

/* Columns `column` to `stop`. */
INLINE void expand_all(const int kind, const int rows, const struct update *w, const float *u, float *y, long out,
                       long column, long stop) {
    if (rows > 1)
        for (; column + 2 * LANES <= stop; column += 2 * LANES) expand_two(kind, rows, w, u, y, out, column);
    for (; column + LANES <= stop; column += LANES) expand(kind, rows, w, u, y, out, column, LANES);
    if (column < stop) expand(kind, rows, w, u, y, out, column, stop - column);
}

/* A function for each kind of numbers and each count of rows; a single one has room for more ranks at a time. */
#define KIND(kind, rows, step) \
    static void shrink_##kind##_##rows(const struct update *w, const float *z, long in, float *u) { \
        shrink_all(kind, rows, step, w, z, in, u); \
    } \
    static void expand_##kind##_##rows(const struct update *w, const float *u, float *y, long out, long column, \
                                       long stop) { \
        expand_all(kind, rows, w, u, y, out, column, stop); \
    }
KIND(FLOAT32, 1, 8) KIND(FLOAT32, 4, 4)
KIND(BFLOAT16, 1, 8) KIND(BFLOAT16, 4, 4)
KIND(FLOAT16, 1, 8) KIND(FLOAT16, 4, 4)

typedef void (*shrinking)(const struct update *w, const float *z, long in, float *u);
typedef void (*expanding)(const struct update *w, const float *u, float *y, long out, long column, long stop);
static const shrinking SHRINK[3][2] = {{shrink_FLOAT32_1, shrink_FLOAT32_4},
                                       {shrink_BFLOAT16_1, shrink_BFLOAT16_4},
                                       {shrink_FLOAT16_1, shrink_FLOAT16_4}};
static const expanding EXPAND[3][2] = {{expand_FLOAT32_1, expand_FLOAT32_4},
                                       {expand_BFLOAT16_1, expand_BFLOAT16_4},
                                       {expand_FLOAT16_1, expand_FLOAT16_4}};

/* u = f(A z + bias) */
void shrink_rows(const struct update *w, long rows, const float *z, long in, float *u) {
    if (!w->rank) return;
    long row = 0;
    for (; row + ROWS <= rows; row += ROWS) SHRINK[w->a_kind][1](w, z + row * in, in, u + row * w->rank);
    for (; row < rows; row++) SHRINK[w->a_kind][0](w, z + row * in, in, u + row * w->rank);
    if (w->activation || w->bias)
        for (row = 0; row < rows; row++) activate(w, u + row * w->rank);
}

/* y = scale * y + B u + shift, columns `column` to `stop`; `column` is the first of a tile. */
void expand_rows(const struct update *w, long rows, const float *u, float *y, long out, long column, long stop) {
    long row = 0;
    for (; row + ROWS <= rows; row += ROWS)
        EXPAND[w->b_kind][1](w, u + row * w->rank, y + row * out, out, column, stop);
    for (; row < rows; row++) EXPAND[w->b_kind][0](w, u + row * w->rank, y + row * out, out, column, stop);
}
