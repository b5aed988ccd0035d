/* What the kernels are called with, as adapterhub/ops declares it to ctypes. */
#ifndef ADAPTERHUB_KERNELS_H
#define ADAPTERHUB_KERNELS_H

#include "rows.h"

struct matrix {
    const uint8_t *weight; /* packed */
    const float *scale;    /* [out] */
    const float *bias;     /* [out] or null */
    float *y;              /* [rows, out] */
    long out;
};

struct update {
    const float *a, *b, *scale, *shift;
    long rank;
};

struct segment {
    const struct update *updates; /* the adapter's, by module; rank 0 where it has none */
    long start, stop;             /* rows */
};

struct place {
    long module, in, out;
    const float *x; /* [rows, in] */
    float *y;       /* [rows, out] */
};

struct layer {
    float *keys, *values;
    long heads, kv_heads, dim;
};

struct chunk {
    const int64_t *places; /* of the sequence's positions */
    long start, stop;      /* positions that are rows of this step */
    long row;              /* of position `start` */
};

struct options {
    float scale, softcap; /* 0: none */
    long window;          /* 0: none */
    const float *sinks;   /* [heads] or null */
};

/* rows.c */
EXPORT void adapterhub_quantize(long rows, long k, const float *x, struct quantized q, int threads);
EXPORT void adapterhub_add_norm(long rows, long d, const float *h, const float *delta, float *s, const float *weight,
                                float eps, float *x, struct quantized q, int threads);
EXPORT void adapterhub_silu_gate(long rows, long d, const float *gate, const float *up, float *x, struct quantized q,
                                 int threads);

/* int8.c */
EXPORT long adapterhub_int8_tile(void);
EXPORT void adapterhub_int8_matmul(long rows, long groups, struct quantized q, long count, const struct matrix *m,
                                   int threads);

/* low_rank.c */
EXPORT void adapterhub_low_rank(long count, const struct place *places, long segments, const struct segment *s,
                                int threads);

/* attention.c */
EXPORT void adapterhub_store(long rows, struct layer layer, float *q, const float *k, const float *v, const float *cos,
                             const float *sin, const int64_t *places, int threads);
EXPORT int adapterhub_attend(struct layer layer, long chunks, const struct chunk *c, struct options o, const float *q,
                             float *out, int threads);

#endif
