/* Low-rank updates of rows of many adapters, of any ranks.
 *
 *     y[i] = scale * y[i] + B (A x[i]) + shift      with the adapter's own A, B of the segment of row i
 *
 *     A [rank, in]   B transposed [rank, out]   scale, shift [out] or null
 */
#include "kernels.h"

#define ROWS 4

/* u[row, r] = A[r] . x[row] */
INLINE void shrink(const int rows, const int ranks, const float *a, const float *x, long in, float *u, long rank) {
    floats acc[ROWS][8];
    for (int i = 0; i < rows; i++)
        for (int r = 0; r < ranks; r++) acc[i][r] = splat(0.0f);
    long k = 0;
    for (; k + LANES <= in; k += LANES)
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            floats row = load(x + i * in + k);
#pragma GCC unroll 8
            for (int r = 0; r < ranks; r++) acc[i][r] = fused(row, load(a + r * in + k), acc[i][r]);
        }
    if (k < in)
        for (int i = 0; i < rows; i++)
            for (int r = 0; r < ranks; r++)
                acc[i][r] = fused(load_part(x + i * in + k, in - k), load_part(a + r * in + k, in - k), acc[i][r]);
    for (int i = 0; i < rows; i++)
        for (int r = 0; r < ranks; r++) u[i * rank + r] = sum(acc[i][r]);
}

INLINE void shrink_all(const int rows, const int step, const struct update *w, const float *x, long in, float *u) {
    long r = 0;
    for (; r + step <= w->rank; r += step) shrink(rows, step, w->a + r * in, x, in, u + r, w->rank);
    for (; r < w->rank; r++) shrink(rows, 1, w->a + r * in, x, in, u + r, w->rank);
}

/* n == 16, or fewer at the end of a row. */
INLINE void expand(const int rows, const struct update *w, const float *u, float *y, long out, long column, long n) {
    floats acc[ROWS];
    for (int i = 0; i < rows; i++) acc[i] = splat(0.0f);
    for (long r = 0; r < w->rank; r++) {
        const float *from = w->b + r * out + column;
        floats b = n == LANES ? load(from) : load_part(from, n);
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

INLINE void update_rows(const int rows, const int step, const struct update *w, const struct place *p, long row) {
    float u[rows * w->rank];
    float *y = p->y + row * p->out;
    shrink_all(rows, step, w, p->x + row * p->in, p->in, u);
    long column = 0;
    for (; column + LANES <= p->out; column += LANES) expand(rows, w, u, y, p->out, column, LANES);
    if (column < p->out) expand(rows, w, u, y, p->out, column, p->out - column);
}

static void four_rows(const struct update *w, const struct place *p, long row) { update_rows(4, 4, w, p, row); }
static void one_row(const struct update *w, const struct place *p, long row) { update_rows(1, 8, w, p, row); }

/* All segments at `count` modules, whose products are in their y already. */
EXPORT void adapterhub_low_rank(long count, const struct place *places, long segments, const struct segment *s,
                                int threads) {
    long first[segments + 1]; /* of a segment, among the tasks at one module */
    first[0] = 0;
    for (long i = 0; i < segments; i++) first[i + 1] = first[i] + (s[i].stop - s[i].start + ROWS - 1) / ROWS;
    long tasks = first[segments];
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (count * tasks > 1)
    for (long task = 0; task < count * tasks; task++) {
        const struct place *p = places + task / tasks;
        long index = task % tasks, segment = 0;
        while (index >= first[segment + 1]) segment++;
        const struct update *w = s[segment].updates + p->module;
        if (!w->rank) continue;
        long row = s[segment].start + (index - first[segment]) * ROWS;
        long stop = row + ROWS < s[segment].stop ? row + ROWS : s[segment].stop;
        if (stop - row == ROWS) four_rows(w, p, row);
        else for (; row < stop; row++) one_row(w, p, row);
    }
}
