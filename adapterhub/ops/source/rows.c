/* What happens to each row by itself between the products: norms, gates, rounding to int8. */
#include "kernels.h"

#define SMALL 4096 /* values below which a second thread costs more than it does */

/* The body for every row, by the blocks of `j` or each by itself. */
#define EACH_BLOCK(team, b, rows, j) \
    EACH(team, index_, (j) ? (j)->blocks : (rows), 1) \
    for (struct block b = (j) ? (j)->block[index_] : (struct block){index_, index_ + 1, NULL}, *once_ = &b; once_; \
         once_ = NULL)

void quantize(struct team *team, long rows, long k, const float *x, struct quantized q, const struct joined *j) {
    EACH_BLOCK(team, b, rows, j) {
        for (long row = b.row; row < b.stop; row++) quantize_row(x + row * k, k, row, q);
        if (b.s) shrink_block(j, b);
    }
    together(team);
}

EXPORT void adapterhub_quantize(long rows, long k, const float *x, struct quantized q, int threads) {
    TEAM(team, rows * k > SMALL ? threads : 1) quantize(&team, rows, k, x, q, NULL);
}

INLINE void norm_row(long row, long d, const float *in, const float *delta, float *s, const float *weight, float eps,
                     float *x, struct quantized q) {
    if (delta) {
        for (long i = 0; i < d; i++) s[i] = in[i] + delta[i];
        in = s;
    }
    floats squares = {0};
    long i = 0;
    for (; i + LANES <= d; i += LANES) squares = fused(load(in + i), load(in + i), squares);
    if (i < d) squares = fused(load_part(in + i, d - i), load_part(in + i, d - i), squares);
    float factor = 1.0f / sqrtf(sum(squares) / (float)d + eps);
    for (i = 0; i < d; i++) x[i] = weight[i] * (in[i] * factor);
    if (q.values) quantize_row(x, d, row, q);
}

/* s = h + delta; x = weight * s / sqrt(mean(s^2) + eps), and x in int8 where q has room. `delta` may be null. */
void add_norm(struct team *team, long rows, long d, const float *h, const float *delta, float *s, const float *weight,
              float eps, float *x, struct quantized q, const struct joined *j) {
    EACH_BLOCK(team, b, rows, j) {
        for (long row = b.row; row < b.stop; row++)
            norm_row(row, d, h + row * d, delta ? delta + row * d : NULL, s + row * d, weight, eps, x + row * d, q);
        if (b.s) shrink_block(j, b);
    }
    together(team);
}

EXPORT void adapterhub_add_norm(long rows, long d, const float *h, const float *delta, float *s, const float *weight,
                                float eps, float *x, struct quantized q, int threads) {
    TEAM(team, rows * d > SMALL ? threads : 1) add_norm(&team, rows, d, h, delta, s, weight, eps, x, q, NULL);
}

INLINE floats gated(floats gate, floats up) { return gate / (splat(1.0f) + exponential(-gate)) * up; }

INLINE void gate_row(long row, long d, const float *gate, const float *up, float *x, struct quantized q) {
    long i = 0;
    for (; i + LANES <= d; i += LANES) store(x + i, gated(load(gate + i), load(up + i)));
    if (i < d) store_part(x + i, gated(load_part(gate + i, d - i), load_part(up + i, d - i)), d - i);
    if (q.values) quantize_row(x, d, row, q);
}

/* x = gate / (1 + e^-gate) * up, and x in int8 where q has room. */
void silu_gate(struct team *team, long rows, long d, const float *gate, const float *up, float *x,
               struct quantized q, const struct joined *j) {
    EACH_BLOCK(team, b, rows, j) {
        for (long row = b.row; row < b.stop; row++) gate_row(row, d, gate + row * d, up + row * d, x + row * d, q);
        if (b.s) shrink_block(j, b);
    }
    together(team);
}

EXPORT void adapterhub_silu_gate(long rows, long d, const float *gate, const float *up, float *x, struct quantized q,
                                 int threads) {
    TEAM(team, rows * d > SMALL ? threads : 1) silu_gate(&team, rows, d, gate, up, x, q, NULL);
}
