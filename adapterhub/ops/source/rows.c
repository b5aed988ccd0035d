/* What happens to each row by itself between the products: norms, gates, rounding to int8. */
#include "kernels.h"

#define SMALL 4096 /* values below which a second thread costs more than it does */

void quantize(struct team *team, long rows, long k, const float *x, struct quantized q) {
    EACH(team, row, rows, 1) quantize_row(x + row * k, k, row, q);
    together(team);
}

EXPORT void adapterhub_quantize(long rows, long k, const float *x, struct quantized q, int threads) {
    TEAM(team, rows * k > SMALL ? threads : 1) quantize(&team, rows, k, x, q);
}

/* s = h + delta; x = weight * s / sqrt(mean(s^2) + eps), and x in int8 where q has room. `delta` may be null. */
void add_norm(struct team *team, long rows, long d, const float *h, const float *delta, float *s, const float *weight,
              float eps, float *x, struct quantized q) {
    EACH(team, row, rows, 1) {
        const float *in = h + row * d;
        if (delta) {
            float *out = s + row * d;
            for (long i = 0; i < d; i++) out[i] = in[i] + delta[row * d + i];
            in = out;
        }
        floats squares = {0};
        long i = 0;
        for (; i + LANES <= d; i += LANES) squares = fused(load(in + i), load(in + i), squares);
        if (i < d) squares = fused(load_part(in + i, d - i), load_part(in + i, d - i), squares);
        float factor = 1.0f / sqrtf(sum(squares) / (float)d + eps);
        float *out = x + row * d;
        for (i = 0; i < d; i++) out[i] = weight[i] * (in[i] * factor);
        if (q.values) quantize_row(out, d, row, q);
    }
    together(team);
}

EXPORT void adapterhub_add_norm(long rows, long d, const float *h, const float *delta, float *s, const float *weight,
                                float eps, float *x, struct quantized q, int threads) {
    TEAM(team, rows * d > SMALL ? threads : 1) add_norm(&team, rows, d, h, delta, s, weight, eps, x, q);
}

INLINE floats gated(floats gate, floats up) { return gate / (splat(1.0f) + exponential(-gate)) * up; }

/* x = gate / (1 + e^-gate) * up, and x in int8 where q has room. */
void silu_gate(struct team *team, long rows, long d, const float *gate, const float *up, float *x,
               struct quantized q) {
    EACH(team, row, rows, 1) {
        const float *g = gate + row * d, *u = up + row * d;
        float *out = x + row * d;
        long i = 0;
        for (; i + LANES <= d; i += LANES) store(out + i, gated(load(g + i), load(u + i)));
        if (i < d) store_part(out + i, gated(load_part(g + i, d - i), load_part(u + i, d - i)), d - i);
        if (q.values) quantize_row(out, d, row, q);
    }
    together(team);
}

EXPORT void adapterhub_silu_gate(long rows, long d, const float *gate, const float *up, float *x, struct quantized q,
                                 int threads) {
    TEAM(team, rows * d > SMALL ? threads : 1) silu_gate(&team, rows, d, gate, up, x, q);
}
