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

/* All segments at `count` modules, whose products are in their y already; `rest`: without what is computed along with
 * these. */
void update_rows(struct team *team, long count, const struct place *places, long segments, const struct segment *s,
                 int rest) {
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
        if (rest && (!is_long(t.s) || !t.w->reads_output)) continue;
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

/* One task of a thread. */
struct own {
    const struct segment *s;
    const struct update *w;
    long place;
};

static struct own own(const struct mine *mine, long task) {
    const struct joined *j = mine->j;
    const struct segment *s = j->s + task / j->m.count;
    long place = task % j->m.count;
    return (struct own){s, s->updates + j->m.at[place], place};
}

INLINE long bytes_of(long rank, long width, int kind) { return rank * width * (kind == FLOAT32 ? 4 : 2); }

/* Goes on to the next tensors that are to be asked for; where there are none left, to nowhere. */
void ask_next(struct mine *mine) {
    const struct joined *j = mine->j;
    for (; mine->wanted < 2; mine->wanted++, mine->asked = mine->first)
        while (mine->asked < mine->tasks) {
            struct own o = own(mine, mine->asked);
            mine->asked += mine->step;
            if (is_long(o.s) || !o.w->rank || (mine->wanted == 0 && o.w->reads_output)) continue;
            long out = j->m.out[o.place];
            mine->at = mine->wanted == 0 || o.w->reads_output ? o.w->a : o.w->b;
            mine->end = mine->wanted == 0 ? mine->at + bytes_of(o.w->rank, j->in, o.w->a_kind)
                                          : (const char *)o.w->b + bytes_of(o.w->rank, out, o.w->b_kind);
            return;
        }
    while (mine->asked < j->segments) { /* an adapter's tensors lie one behind the other */
        const struct segment *s = j->s + mine->asked;
        const struct modules *m = mine->then;
        mine->asked += mine->step;
        long first = 0, last = m->count - 1;
        while (first <= last && !s->updates[m->at[first]].rank) first++;
        while (last > first && !s->updates[m->at[last]].rank) last--;
        if (!is_long(s) || first > last) continue;
        const struct update *end = s->updates + m->at[last];
        mine->at = s->updates[m->at[first]].a;
        mine->end = (const char *)end->b + bytes_of(end->rank, m->out[last], end->b_kind);
        return;
    }
    mine->at = mine->end = NULL;
}

/* f(A x + bias) of the thread's next tasks, at most so many. */
void shrink_mine(struct mine *mine, long most) {
    const struct joined *j = mine->j;
    for (; most > 0 && mine->shrunk < mine->tasks; mine->shrunk += mine->step) {
        struct own o = own(mine, mine->shrunk);
        if (is_long(o.s) || o.w->reads_output || !o.w->rank) continue;
        shrink_rows(o.w, o.s->stop - o.s->start, j->x + o.s->start * j->in, j->in,
                    hidden_of(j, o.s, o.place, o.s->start));
        most--;
    }
}

/* The rest of all of the thread's tasks, when the product is done. */
void expand_mine(const struct mine *mine, const struct place *places) {
    for (long task = mine->first; task < mine->tasks; task += mine->step) {
        struct own o = own(mine, task);
        if (task + mine->step < mine->tasks) {
            const char *next = own(mine, task + mine->step).w->b;
            for (long i = 0; next && i < AHEAD; i += 64) __builtin_prefetch(next + i, 0, 1);
        }
        if (is_long(o.s) || (!o.w->rank && !o.w->scale && !o.w->shift)) continue;
        const struct place *p = places + o.place;
        long row = o.s->start, rows = o.s->stop - row;
        if (o.w->reads_output) update(o.w, p, row, rows);
        else expand_rows(o.w, rows, hidden_of(mine->j, o.s, o.place, row), p->y + row * p->out, p->out, 0, p->out);
    }
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
