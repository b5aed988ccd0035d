/* Whole decoder layers of Llama and its like: the kernels in the order of adapterhub/engine/decoder.py, whose
 * bits they give. For steps in which nothing but low-rank updates acts inside the layers. */
#include "kernels.h"

struct decoder_layer {
    const float *input_norm, *mlp_norm, *q_norm, *k_norm; /* the last two may be null */
    float input_eps, mlp_eps, q_eps, k_eps;
    struct matrix qkv[3], output, gate_up[2], down;
    long modules[7]; /* q, k, v, output, gate, up, down, as the updates count them */
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
    int threads;
};

#if defined(__AVX512VNNI__)

/* Products of rows that are in q already, and their updates by x, the same rows in fp32. */
static void linear(const struct step *s, long in, const float *x, struct quantized q, long count,
                   const struct matrix *matrices, const long *modules, float *const *y) {
    struct matrix m[3];
    struct place p[3];
    for (long i = 0; i < count; i++) {
        m[i] = matrices[i];
        m[i].y = y[i];
        p[i] = (struct place){modules[i], in, m[i].out, x, y[i]};
    }
    adapterhub_int8_matmul(s->rows, (in + 3) / 4, q, count, m, s->threads);
    if (s->segments) adapterhub_low_rank(count, p, s->segments, s->s, s->threads);
}

static long aligned(long bytes) { return (bytes + 63) / 64 * 64; }

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
    long bytes = rows * stride + 2 * line;
    for (int i = 0; i < 8; i++) bytes += aligned(rows * sizes[i] * 4);
    char *memory = aligned_alloc(64, (size_t)bytes), *next = memory;
    if (!memory) return 1;
    float *part[8];
    for (int i = 0; i < 8; i++) part[i] = (float *)next, next += aligned(rows * sizes[i] * 4);
    struct quantized none = {0}, q = {(int8_t *)next, (float *)(next + rows * stride), NULL, aligned(hidden)};
    q.sum = (int32_t *)(next + rows * stride + line);
    struct quantized q_wide = q, q_inner = q; /* one memory, used in turn */
    q_wide.stride = aligned(wide);
    q_inner.stride = aligned(inner);
    float *x = part[0], *heads = part[1], *k = part[2], *v = part[3], *attended = part[4], *gated = part[7];
    int failed = 0;
    for (long i = 0; i < count && !failed; i++, l++) {
        adapterhub_add_norm(rows, hidden, h, i ? delta : NULL, h, l->input_norm, l->input_eps, x, q, s.threads);
        linear(&s, hidden, x, q, 3, l->qkv, l->modules, (float *[]){heads, k, v});
        long dim = l->cache.dim;
        if (l->q_norm)
            adapterhub_add_norm(rows * l->cache.heads, dim, heads, NULL, NULL, l->q_norm, l->q_eps, heads, none, s.threads);
        if (l->k_norm)
            adapterhub_add_norm(rows * l->cache.kv_heads, dim, k, NULL, NULL, l->k_norm, l->k_eps, k, none, s.threads);
        adapterhub_store(rows, l->cache, heads, k, v, s.cos, s.sin, s.places, s.threads);
        failed = adapterhub_attend(l->cache, s.chunks, s.c, l->options, heads, attended, s.threads);
        adapterhub_quantize(rows, wide, attended, q_wide, s.threads);
        linear(&s, wide, attended, q_wide, 1, &l->output, l->modules + 3, (float *[]){delta});
        adapterhub_add_norm(rows, hidden, h, delta, h, l->mlp_norm, l->mlp_eps, x, q, s.threads);
        linear(&s, hidden, x, q, 2, l->gate_up, l->modules + 4, part + 5);
        adapterhub_silu_gate(rows, inner, part[5], part[6], gated, q_inner, s.threads);
        linear(&s, inner, gated, q_inner, 1, &l->down, l->modules + 6, (float *[]){delta});
    }
    free(memory);
    return failed;
}

#endif
