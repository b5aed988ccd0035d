/* What the kernels are called with, as adapterhub/ops declares it to ctypes.
 *
 * A kernel is a function that every thread of a team runs; where it ends, all of its work is done.
 */
#ifndef ADAPTERHUB_KERNELS_H
#define ADAPTERHUB_KERNELS_H

#include "rows.h"
#include "team.h"

struct matrix {
    const uint8_t *weight; /* packed */
    const float *scale;    /* [out] */
    const float *bias;     /* [out] or null */
    float *y;              /* [rows, out] */
    long out;
};

/* Numbers in 32 or 16 bits. */
enum kind { FLOAT32, BFLOAT16, FLOAT16 };

enum activation { LINEAR, RELU, SILU, GELU, GELU_TANH };

/* What an adapter does at one module. All but the kinds may be null or 0. */
struct update {
    const void *a, *b;          /* in tiles, as low_rank.c has them */
    const float *bias;          /* [rank] */
    const float *scale, *shift; /* [out] */
    const float *front;         /* [in], of the module */
    long rank;
    int a_kind, b_kind, activation;
    int reads_output; /* whether A reads what the module gives, in place of what it is given */
};

struct segment {
    const struct update *updates; /* the adapter's, by module */
    long start, stop;             /* rows */
};

struct place {
    long module, in, out;
    float *x; /* [rows, in] */
    float *y; /* [rows, out] */
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

/* Rows of one segment that a thread takes together; one row of the base's alone. */
struct block {
    long row, stop;
    const struct segment *s; /* or null */
};

/* The modules of one product. */
struct modules {
    long count;
    long at[3], out[3];
};

/* Updates that read the modules' input are computed along with the product. Those of long segments where rows lie near:
 * their f(A x + bias) follows where x is made, block by block; the rest follows each tile of the product. For a few
 * rows A and B are what takes the time: `mine` says how they are read.
 */
struct joined {
    long blocks; /* none where no segment is long */
    const struct block *block;
    long segments;
    const struct segment *s;
    struct modules m;
    const float *x; /* [rows, in] */
    float *u;       /* [count, rows, rank] */
    long in, rows, rank;
};

INLINE int is_long(const struct segment *s) { return s->stop - s->start >= 8; }

INLINE int is_joined(const struct segment *s, const struct update *w) { return is_long(s) && !w->reads_output; }

/* A thread's part of what short segments do at a product's modules: task k is segment k / count at module k % count.
 *
 * The products have time to spare that memory has not, so they ask for what is read next: A of the thread's tasks, whose
 * f(A x + bias) it computes between one tile and another, while A is near; then B, which is read behind the product;
 * then what long segments read around the next product.
 */
struct mine {
    const struct joined *j;
    const struct modules *then;
    long first, step, tasks;
    long shrunk, asked; /* tasks of which A was read, and which were asked for */
    int wanted;         /* A, B, or what is behind them */
    const char *at, *end;
};

/* rows.c; `j` may be null */
void quantize(struct team *team, long rows, long k, const float *x, struct quantized q, const struct joined *j);
void add_norm(struct team *team, long rows, long d, const float *h, const float *delta, float *s, const float *weight,
              float eps, float *x, struct quantized q, const struct joined *j);
void silu_gate(struct team *team, long rows, long d, const float *gate, const float *up, float *x, struct quantized q,
               const struct joined *j);

/* int8.c */
void int8_matmul(struct team *team, long rows, long groups, const struct quantized *q, long count,
                 const struct matrix *m, const struct joined *j, struct mine *mine);

/* What is read once and from one end to the other is asked for so many bytes ahead: past the end of A lies B. */
#define AHEAD 4096

/* low_rank.c */
#define UPDATE_ROWS 4 /* of one segment that share what is read of A and B */
void shrink_rows(const struct update *w, long rows, const float *z, long in, float *u);
void expand_rows(const struct update *w, long rows, const float *u, float *y, long out, long column, long stop);

/* updates.c */
void update_rows(struct team *team, long count, const struct place *places, long segments, const struct segment *s,
                 int rest);
void shrink_block(const struct joined *j, struct block b);
void expand_tile(const struct joined *j, const struct segment *s, long place, long row, long stop, float *y,
                 long column, long width);
void ask_next(struct mine *mine);
void shrink_mine(struct mine *mine, long most);
void expand_mine(const struct mine *mine, const struct place *places);
void scale_rows(struct team *team, struct place place, long segments, const struct segment *s);

/* attention.c */
void store_rows(struct team *team, long rows, struct layer layer, float *q, const float *k, const float *v,
                const float *cos, const float *sin, const int64_t *places);
size_t attention_room(const struct layer *layer, long chunks, const struct chunk *c);
void attend_rows(struct team *team, const struct layer *layer, long chunks, const struct chunk *c,
                 const struct options *o, const float *q, float *out, float *room);

#endif
