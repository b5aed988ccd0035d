/* What happens to each row by itself between the products: norms, gates, rounding to int8. */
#include "kernels.h"

#define SMALL 4096 /* values below which a second thread costs more than it does */

EXPORT void adapterhub_quantize(long rows, long k, const float *x, struct quantized q, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (rows * k > SMALL)
    for (long row = 0; row < rows; row++) quantize_row(x + row * k, k, row, q);
}

/* s = h + delta; x = weight * s / sqrt(mean(s^2) + eps), and x in int8 where q has room. `delta` may be null. */
EXPORT void adapterhub_add_norm(long rows, long d, const float *h, const float *delta, float *s, const float *weight,
                                float eps, float *x, struct quantized q, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (rows * d > SMALL)
    for (long row = 0; row < rows; row++) {
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
}

INLINE floats gated(floats gate, floats up) { return gate / (splat(1.0f) + exponential(-gate)) * up; }

/* x = gate / (1 + e^-gate) * up, and x in int8 where q has room. */
EXPORT void adapterhub_silu_gate(long rows, long d, const float *gate, const float *up, float *x, struct quantized q,
                                 int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (rows * d > SMALL)
    for (long row = 0; row < rows; row++) {
        const float *g = gate + row * d, *u = up + row * d;
        float *out = x + row * d;
        long i = 0;
        for (; i + LANES <= d; i += LANES) store(out + i, gated(load(g + i), load(u + i)));
        if (i < d) store_part(out + i, gated(load_part(g + i, d - i), load_part(u + i, d - i)), d - i);
        if (q.values) quantize_row(out, d, row, q);
    }
}
