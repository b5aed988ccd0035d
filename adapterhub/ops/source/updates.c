/* What the adapters of a step do at modules, each to the rows of its own segment.
 *
 *     x[i] = front * x[i]                                              before the module
 *     y[i] = scale * y[i] + B f(A z[i] + bias) + shift                 behind it; z[i] is x[i], or y[i] itself
 *
 *     A [rank, in]   B [out, rank]   front [in]   bias [rank]   scale, shift [out]
 *
 * A lies in tiles of 16 columns, [in / 16, rank, 16] and [rank, in % 16] behind them, B transposed the same way: both
 * are read from one end to the other. They may be in 16 bits: they are widened, and the sums are those of the same
 * numbers in 32.
 */
#include "numbers.h"

#define ROWS 4

EXPORT long adapterhub_has_float16(void) { return HAS_FLOAT16; }

/* What is read once and from one end to the other is asked for so many bytes ahead: past the end of A lies B. */
#define AHEAD 4096

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
            floats a = load_as(kind, w->a, at + r * LANES);
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

INLINE void expand_all(const int kind, const int rows, const struct update *w, const float *u, float *y, long out) {
    long column = 0;
    for (; column + LANES <= out; column += LANES) expand(kind, rows, w, u, y, out, column, LANES);
    if (column < out) expand(kind, rows, w, u, y, out, column, out - column);
}

/* A function for each kind of numbers and each count of rows; a single one has room for more ranks at a time. */
#define KIND(kind, rows, step) \
    static void shrink_##kind##_##rows(const struct update *w, const float *z, long in, float *u) { \
        shrink_all(kind, rows, step, w, z, in, u); \
    } \
    static void expand_##kind##_##rows(const struct update *w, const float *u, float *y, long out) { \
        expand_all(kind, rows, w, u, y, out); \
    }
KIND(FLOAT32, 1, 8) KIND(FLOAT32, 4, 4)
KIND(BFLOAT16, 1, 8) KIND(BFLOAT16, 4, 4)
KIND(FLOAT16, 1, 8) KIND(FLOAT16, 4, 4)

typedef void (*shrinking)(const struct update *w, const float *z, long in, float *u);
typedef void (*expanding)(const struct update *w, const float *u, float *y, long out);
static const shrinking SHRINK[3][2] = {{shrink_FLOAT32_1, shrink_FLOAT32_4},
                                       {shrink_BFLOAT16_1, shrink_BFLOAT16_4},
                                       {shrink_FLOAT16_1, shrink_FLOAT16_4}};
static const expanding EXPAND[3][2] = {{expand_FLOAT32_1, expand_FLOAT32_4},
                                       {expand_BFLOAT16_1, expand_BFLOAT16_4},
                                       {expand_FLOAT16_1, expand_FLOAT16_4}};

/* `rows` is 1 or ROWS. */
static void update(const struct update *w, const struct place *p, long row, long rows) {
    float u[rows * w->rank + 1];
    float *y = p->y + row * p->out;
    long in = w->reads_output ? p->out : p->in;
    if (w->rank) SHRINK[w->a_kind][rows > 1](w, w->reads_output ? y : p->x + row * in, in, u);
    if (w->activation || w->bias)
        for (long i = 0; i < rows; i++) activate(w, u + i * w->rank);
    EXPAND[w->b_kind][rows > 1](w, u, y, p->out);
}

/* Rows of one segment at one module. */
struct task {
    const struct update *w;
    const struct place *p;
    long row, stop;
};

/* What is to be done, in an order: `tasks` at each module. */
struct work {
    const struct place *places;
    const struct segment *s;
    const long *first; /* of a segment, among the tasks at one module */
    long tasks;
};

static struct task task_of(const struct work *work, long index) {
    const struct place *p = work->places + index / work->tasks;
    long own = index % work->tasks, segment = 0;
    while (own >= work->first[segment + 1]) segment++;
    const struct segment *s = work->s + segment;
    long row = s->start + (own - work->first[segment]) * ROWS;
    return (struct task){s->updates + p->module, p, row, row + ROWS < s->stop ? row + ROWS : s->stop};
}

/* All segments at `count` modules, whose products are in their y already. */
void update_rows(struct team *team, long count, const struct place *places, long segments, const struct segment *s) {
    long first[segments + 1];
    first[0] = 0;
    for (long i = 0; i < segments; i++) first[i + 1] = first[i] + (s[i].stop - s[i].start + ROWS - 1) / ROWS;
    struct work work = {places, s, first, first[segments]};
    long all = count * work.tasks, chunk = all < 8 * team->threads ? 1 : 4;
    EACH(team, index, all, chunk) {
        struct task t = task_of(&work, index);
        if (index + 1 < all) { /* the next one's begin is under way meanwhile, if it is this thread's */
            const char *next = task_of(&work, index + 1).w->a;
            for (long i = 0; next && i < AHEAD; i += 64) __builtin_prefetch(next + i, 0, 1);
        }
        if (!t.w->rank && !t.w->scale && !t.w->shift) continue;
        if (t.stop - t.row == ROWS) update(t.w, t.p, t.row, ROWS);
        else for (; t.row < t.stop; t.row++) update(t.w, t.p, t.row, 1);
    }
    together(team);
}

EXPORT void adapterhub_updates(long count, const struct place *places, long segments, const struct segment *s,
                               int threads) {
    TEAM(team, threads) update_rows(&team, count, places, segments, s);
}

/* Goes on to the tensors of the thread's next segment; where there are none left, to nowhere. */
void next_region(struct stream *stream) {
    for (; stream->segment < stream->stop; stream->segment += stream->step) {
        const struct update *w = stream->segment->updates;
        long first = stream->first, last = stream->last;
        while (first <= last && !w[first].rank) first++;
        while (last > first && !w[last].rank) last--;
        if (first > last) continue;
        stream->at = w[first].a;
        stream->end = (const char *)w[last].b + w[last].rank * stream->out[last - stream->first] * (w[last].b_kind ? 2 : 4);
        stream->segment += stream->step;
        return;
    }
    stream->at = NULL;
    stream->end = (const char *)UINTPTR_MAX;
}

/* What the segments do in front of one module, in place. */
void scale_rows(struct team *team, struct place place, long segments, const struct segment *s) {
    EACH(team, segment, segments, 1) {
        const float *front = s[segment].updates[place.module].front;
        if (!front) continue;
        for (long row = s[segment].start; row < s[segment].stop; row++)
            for (long i = 0; i < place.in; i++) place.x[row * place.in + i] *= front[i];
    }
    together(team);
}

EXPORT void adapterhub_scale_rows(struct place place, long segments, const struct segment *s) {
    TEAM(team, 1) scale_rows(&team, place, segments, s);
}
