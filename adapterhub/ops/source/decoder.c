/* Whole decoder layers of Llama and its like: the kernels in the order of adapterhub/engine/decoder.py, whose
 * bits they give. For steps in which all that acts inside the layers is computed by kernels.
 */
#include "kernels.h"

/* Places of modules in `decoder_layer.modules`, as the updates count them. */
enum { Q, K, V, OUTPUT, GATE, UP, DOWN, ATTENTION, MLP, LAYER, MODULES };

struct decoder_layer {
    const float *input_norm, *mlp_norm, *q_norm, *k_norm; /* the last two may be null */
    float input_eps, mlp_eps, q_eps, k_eps;
    struct matrix qkv[3], output, gate_up[2], down;
    long modules[MODULES];
    struct layer cache;
    struct options options;
};

struct step {
    long rows, hidden;
    const float *cos, *sin;
    const int64_t *places;
    long chunks;
    const struct chunk *c;
    long segments;
    const struct segment *s;
    int fronts; /* whether any segment scales what a module is given */
    int parts;  /* whether any acts on what attention, the feed-forward part or a layer gives */
    long rank;  /* the highest of any */
    int threads;
};

#if defined(__AVX512VNNI__)

/* A module's or several modules' products, of rows that are in q already. */
struct product {
    const struct matrix *matrices;
    struct modules m;
};

static struct product product(long count, const struct matrix *matrices, const long *modules) {
    struct product p = {matrices, {count, {0}, {0}}};
    for (long i = 0; i < count; i++) p.m.at[i] = modules[i], p.m.out[i] = matrices[i].out;
    return p;
}

/* With the updates by x, the same rows in fp32. `then`: the product after it. */
static void linear(struct team *team, const struct step *s, long in, float *x, const struct quantized *q,
                   const struct product *product, const struct product *then, const struct joined *j,
                   float *const *y) {
    struct matrix m[3];
    struct place p[3];
    long count = product->m.count;
    for (long i = 0; i < count; i++) {
        m[i] = product->matrices[i];
        m[i].y = y[i];
        p[i] = (struct place){product->m.at[i], in, m[i].out, x, y[i]};
    }
    long tasks = s->segments * count, me = member();
    struct mine mine = {j, &then->m, me, team->threads, tasks, me, me, 0, NULL, NULL};
    int8_matmul(team, s->rows, (in + 3) / 4, q, count, m, j->blocks ? j : NULL, tasks ? &mine : NULL);
    int few = 0, rest = 0;
    for (long i = 0; i < s->segments; i++) {
        if (!is_long(s->s + i)) few = 1;
        else for (long k = 0; k < count; k++) rest |= s->s[i].updates[p[k].module].reads_output;
    }
    if (few) expand_mine(&mine, p);
    if (rest) update_rows(team, count, p, s->segments, s->s, 1);
    else if (few) together(team);
}

/* What acts on the whole part that gave `delta`: it may read the residual `h` in front of it. */
static void part(struct team *team, const struct step *s, float *h, float *delta, long module) {
    struct place p = {module, s->hidden, s->hidden, h, delta};
    if (s->parts) update_rows(team, 1, &p, s->segments, s->s, 0);
}

/* What acts on a whole layer, whose output is h + delta: for rows of segments this becomes h, and delta 0. */
static void behind_layer(struct team *team, const struct step *s, float *h, float *delta, long module) {
    if (!s->parts) return;
    EACH(team, segment, s->segments, 1) {
        const struct update *w = s->s[segment].updates + module;
        if (!w->rank && !w->scale && !w->shift) continue;
        for (long i = s->s[segment].start * s->hidden; i < s->s[segment].stop * s->hidden; i++) {
            h[i] += delta[i];
            delta[i] = 0.0f;
        }
    }
    together(team);
    /* An update reads what the layer gives from y, which is h here, and adds to it. */
    struct place p = {module, s->hidden, s->hidden, h, h};
    update_rows(team, 1, &p, s->segments, s->s, 0);
}

/* Rows of one module alone, scaled in front where a segment does, in int8. */
static void rounded(struct team *team, const struct step *s, long in, float *x, struct quantized q, long module,
                    const struct joined *j) {
    if (s->fronts) scale_rows(team, (struct place){module, in, 0, x, NULL}, s->segments, s->s);
    quantize(team, s->rows, in, x, q, j);
}

static long aligned(long bytes) { return (bytes + 63) / 64 * 64; }

/* Where a step's rows are on their way. */
struct rows {
    float *x, *heads, *k, *v, *attended, *gate, *up, *gated;
    struct quantized narrow, wide, inner; /* of `hidden`, of all heads, of the feed-forward part: one memory in turn */
};

/* The updates of a product by x; nothing for who makes x where no segment is long. */
static const struct joined *joined(struct joined *j, const struct product *p, long in, const float *x) {
    j->m = p->m;
    j->in = in;
    j->x = x;
    return j->blocks ? j : NULL;
}

/* `next` is the layer behind it, or itself. */
static void run(struct team *team, const struct step *s, const struct decoder_layer *l,
                const struct decoder_layer *next, int first, float *h, float *delta, const struct rows *r,
                struct joined j, float *room) {
    long rows = s->rows, hidden = s->hidden, inner = l->gate_up[0].out, wide = l->qkv[0].out, dim = l->cache.dim;
    struct quantized none = {0};
    struct product qkv = product(3, l->qkv, l->modules + Q), output = product(1, &l->output, l->modules + OUTPUT);
    struct product gate_up = product(2, l->gate_up, l->modules + GATE), down = product(1, &l->down, l->modules + DOWN);
    struct product then = product(3, next->qkv, next->modules + Q);
    const struct joined *with = joined(&j, &qkv, hidden, r->x);
    add_norm(team, rows, hidden, h, first ? NULL : delta, h, l->input_norm, l->input_eps, r->x, r->narrow, with);
    linear(team, s, hidden, r->x, &r->narrow, &qkv, &output, &j, (float *[]){r->heads, r->k, r->v});
    if (l->q_norm)
        add_norm(team, rows * l->cache.heads, dim, r->heads, NULL, NULL, l->q_norm, l->q_eps, r->heads, none, NULL);
    if (l->k_norm)
        add_norm(team, rows * l->cache.kv_heads, dim, r->k, NULL, NULL, l->k_norm, l->k_eps, r->k, none, NULL);
    store_rows(team, rows, l->cache, r->heads, r->k, r->v, s->cos, s->sin, s->places);
    attend_rows(team, &l->cache, s->chunks, s->c, &l->options, r->heads, r->attended, room);
    with = joined(&j, &output, wide, r->attended);
    rounded(team, s, wide, r->attended, r->wide, l->modules[OUTPUT], with);
    linear(team, s, wide, r->attended, &r->wide, &output, &gate_up, &j, (float *[]){delta});
    part(team, s, h, delta, l->modules[ATTENTION]);
    with = joined(&j, &gate_up, hidden, r->x);
    add_norm(team, rows, hidden, h, delta, h, l->mlp_norm, l->mlp_eps, r->x, r->narrow, with);
    linear(team, s, hidden, r->x, &r->narrow, &gate_up, &down, &j, (float *[]){r->gate, r->up});
    with = joined(&j, &down, inner, r->gated);
    if (s->fronts) {
        silu_gate(team, rows, inner, r->gate, r->up, r->gated, none, NULL);
        rounded(team, s, inner, r->gated, r->inner, l->modules[DOWN], with);
    } else silu_gate(team, rows, inner, r->gate, r->up, r->gated, r->inner, with);
    linear(team, s, inner, r->gated, &r->inner, &down, &then, &j, (float *[]){delta});
    part(team, s, h, delta, l->modules[MLP]);
    behind_layer(team, s, h, delta, l->modules[LAYER]);
}

/* Rows of a step as they are taken together, into `block` [rows]; none where no segment is long. */
static long blocks_of(const struct step *s, struct block *block) {
    const struct segment *next = s->s, *end = s->s + s->segments;
    long count = 0, several = 0;
    for (long row = 0; row < s->rows; row = block[count++].stop) {
        while (next < end && next->stop <= row) next++;
        block[count] = (struct block){row, row + 1, NULL};
        if (next == end || row < next->start) continue;
        long stop = row + UPDATE_ROWS < next->stop ? row + UPDATE_ROWS : next->stop;
        block[count] = (struct block){row, stop, next};
        several |= is_long(next);
    }
    return several ? count : 0;
}

/* `h` [rows, hidden] becomes the residual behind the last layer, `delta` what is still to be added to it.
 * Returns 0, or 1 when there is no memory. */
EXPORT int adapterhub_layers(long count, const struct decoder_layer *layers, struct step s, float *h, float *delta) {
    const struct decoder_layer *l = layers;
    long rows = s.rows, hidden = s.hidden, inner = l->gate_up[0].out;
    long wide = l->qkv[0].out, narrow = l->qkv[1].out;
    long most = hidden > inner ? hidden : inner;
    most = most > wide ? most : wide;
    long stride = aligned(most), line = aligned(rows * 4);
    long sizes[] = {hidden, wide, narrow, narrow, wide, inner, inner, inner};
    long room = aligned((long)(attention_room(&l->cache, s.chunks, s.c) * sizeof(float)));
    long blocks = aligned(rows * (long)sizeof(struct block)), shrunk = aligned(3 * rows * s.rank * 4);
    long bytes = rows * stride + 2 * line + s.threads * room + blocks + shrunk;
    for (int i = 0; i < 8; i++) bytes += aligned(rows * sizes[i] * 4);
    char *memory = aligned_alloc(64, (size_t)bytes), *next = memory;
    if (!memory) return 1;
    float *part[8];
    for (int i = 0; i < 8; i++) part[i] = (float *)next, next += aligned(rows * sizes[i] * 4);
    struct quantized q = {(int8_t *)next, (float *)(next + rows * stride), NULL, aligned(hidden)};
    q.sum = (int32_t *)(next + rows * stride + line);
    next += rows * stride + 2 * line;
    struct rows r = {part[0], part[1], part[2], part[3], part[4], part[5], part[6], part[7], q, q, q};
    r.wide.stride = aligned(wide);
    r.inner.stride = aligned(inner);
    struct joined j = {0, (struct block *)next, s.segments, s.s, {0}, NULL, (float *)(next + blocks), 0, rows, s.rank};
    j.blocks = blocks_of(&s, (struct block *)next);
    next += blocks + shrunk;
    TEAM(team, s.threads)
    for (long i = 0; i < count; i++)
        run(&team, &s, layers + i, layers + (i + 1 < count ? i + 1 : i), !i, h, delta, &r, j,
            (float *)(next + member() * room));
    free(memory);
    return 0;
}

#endif
