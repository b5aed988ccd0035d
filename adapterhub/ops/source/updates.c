/* What the adapters of a step do at modules, each to the rows of its own segment.
 *
 *     x[i] = front * x[i]                                              before the module
 *     y[i] = scale * y[i] + B f(A z[i] + bias) + shift                 behind it; z[i] is x[i], or y[i] itself
 *
 *     A [rank, in]   B [out, rank]   front [in]   bias [rank]   scale, shift [out]
 */
#include "numbers.h"

#define ROWS UPDATE_ROWS

static void update(const struct update *w, const struct place *p, long row, long rows) {
    float u[rows * w->rank + 1];
    float *y = p->y + row * p->out;
    long in = w->reads_output ? p->out : p->in;
    shrink_rows(w, rows, w->reads_output ? y : p->x + row * in, in, u);
    expand_rows(w, rows, u, y, p->out, 0, p->out);
}

/* Rows of one segment at one module. */
struct task {
    const struct segment *s;
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
    return (struct task){s, s->updates + p->module, p, row, row + ROWS < s->stop ? row + ROWS : s->stop};
}

/* All segments at `count` modules, whose products are in their y already; `joined`: without what is joined to these. */
void update_rows(struct team *team, long count, const struct place *places, long segments, const struct segment *s,
                 int joined) {
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
        if (joined && is_joined(t.s, t.w)) continue;
        update(t.w, t.p, t.row, t.stop - t.row);
    }
    together(team);
}

EXPORT void adapterhub_updates(long count, const struct place *places, long segments, const struct segment *s,
                               int threads) {
    TEAM(team, threads) update_rows(&team, count, places, segments, s, 0);
}

/* Where the hidden values of a segment's rows begin, at one of the modules. */
static float *hidden_of(const struct joined *j, const struct segment *s, long place, long row) {
    const struct update *w = s->updates + j->m.at[place];
    return j->u + (place * j->rows + s->start) * j->rank + (row - s->start) * w->rank;
}

/* f(A x + bias) of rows whose x was just made, at all modules. */
void shrink_block(const struct joined *j, struct block b) {
    for (long i = 0; i < j->m.count; i++) {
        const struct update *w = b.s->updates + j->m.at[i];
        if (is_joined(b.s, w)) shrink_rows(w, b.stop - b.row, j->x + b.row * j->in, j->in, hidden_of(j, b.s, i, b.row));
    }
}

/* What a segment does to its rows `row` to `stop` of y, which were just made, at `width` columns. */
void expand_tile(const struct joined *j, const struct segment *s, long place, long row, long stop, float *y,
                 long column, long width) {
    const struct update *w = s->updates + j->m.at[place];
    if (!is_joined(s, w) || (!w->rank && !w->scale && !w->shift)) return;
    long out = j->m.out[place];
    expand_rows(w, stop - row, hidden_of(j, s, place, row), y + row * out, out, column, column + width);
}

/* Goes on to the tensors of the thread's next segment; where there are none left, to nowhere. */
void next_region(struct stream *stream) {
    for (; stream->segment < stream->stop; stream->segment += stream->step) {
        const struct segment *s = stream->segment;
        const struct modules *m = is_long(s) ? stream->then : stream->now;
        long first = 0, last = m->count - 1;
        while (first <= last && !s->updates[m->at[first]].rank) first++;
        while (last > first && !s->updates[m->at[last]].rank) last--;
        if (first > last) continue;
        const struct update *end = s->updates + m->at[last];
        stream->at = s->updates[m->at[first]].a;
        stream->end = (const char *)end->b + end->rank * m->out[last] * (end->b_kind ? 2 : 4);
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
