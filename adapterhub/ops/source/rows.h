/* A row's input to an int8 product: its values, one scale, and their sum. */
#ifndef ADAPTERHUB_ROWS_H
#define ADAPTERHUB_ROWS_H

#include "vector.h"

struct quantized {
    int8_t *values; /* [rows, stride], zeros behind a row's own */
    float *scale;   /* [rows] */
    int32_t *sum;   /* [rows] */
    long stride;
};

/* As adapterhub.base.int8.quantize_rows, to the bit. */
INLINE void quantize_row(const float *x, long k, long row, struct quantized q) {
    int32_t most = 0; /* of the bits without the sign: what is not finite is larger than all that is */
    for (long i = 0; i < k; i++) {
        int32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float scale;
    memcpy(&scale, &most, sizeof scale);
    scale = scale / 127.0f;
    scale = scale < 0x1p-126f ? 0x1p-126f : scale;
    int8_t *values = q.values + row * q.stride;
    int32_t total = 0;
    for (long i = 0; i < k; i++) {
        int32_t value = (int32_t)rintf(x[i] / scale);
        values[i] = (int8_t)value;
        total += (int8_t)value;
    }
    for (long i = k; i < q.stride; i++) values[i] = 0;
    q.scale[row] = scale;
    q.sum[row] = total;
}

#endif
