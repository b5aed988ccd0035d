/* The threads of one call. They stay together over all loops of a step, of which there are hundreds: to wait for
 * each other they look at a number, for a system call would take longer than most loops do.
 */
#ifndef ADAPTERHUB_TEAM_H
#define ADAPTERHUB_TEAM_H

#include <sched.h>
#include <stdatomic.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(_OPENMP)
#include <omp.h>
#endif

struct team {
    int threads;
    _Alignas(64) atomic_long next; /* index of the loop under way */
    _Alignas(64) atomic_int waiting;
    _Alignas(64) atomic_int phase;
    _Alignas(64) atomic_int asleep;
};

#define PATIENCE 4000 /* looks at the number, some 0.1 ms, after which others may have the processor */

/* Somebody has been waited for too long to be at work: another has its processor, and it can have this one. Linux
 * gives it to it only if nobody runs here, so that to yield is not enough.
 */
static inline void sleep_in(struct team *team, int phase) {
#if defined(__linux__)
    atomic_fetch_add(&team->asleep, 1);
    syscall(SYS_futex, &team->phase, FUTEX_WAIT_PRIVATE, phase, NULL, NULL, 0); /* returns at once in another phase */
    atomic_fetch_sub(&team->asleep, 1);
#else
    (void)team, (void)phase;
    sched_yield();
#endif
}

static inline void wake(struct team *team) {
#if defined(__linux__)
    if (atomic_load(&team->asleep)) syscall(SYS_futex, &team->phase, FUTEX_WAKE_PRIVATE, team->threads, NULL, NULL, 0);
#else
    (void)team;
#endif
}

/* Every thread is here before one goes on; the next loop begins at 0. */
static inline void together(struct team *team) {
    if (team->threads == 1) {
        atomic_store_explicit(&team->next, 0, memory_order_relaxed);
        return;
    }
    int phase = atomic_load_explicit(&team->phase, memory_order_acquire);
    if (atomic_fetch_add_explicit(&team->waiting, 1, memory_order_acq_rel) == team->threads - 1) {
        atomic_store_explicit(&team->waiting, 0, memory_order_relaxed);
        atomic_store_explicit(&team->next, 0, memory_order_relaxed);
        atomic_store(&team->phase, phase + 1); /* before it is seen who sleeps: whoever does so later sees it */
        wake(team);
        return;
    }
    for (long looks = 0; atomic_load_explicit(&team->phase, memory_order_acquire) == phase; looks++) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
        if (looks > PATIENCE) sleep_in(team, phase);
    }
}

static inline long claim(struct team *team, long chunk) {
    return atomic_fetch_add_explicit(&team->next, chunk, memory_order_relaxed);
}

/* The body for every `index` below `count`, each on one thread, `chunk` of them at a time. */
#define EACH(team, index, count, chunk) \
    for (long first_ = claim(team, chunk); first_ < (count); first_ = claim(team, chunk)) \
        for (long index = first_; index < first_ + (chunk) && index < (count); index++)

/* A call by at most `most` threads: the statement behind it runs on each of them, `team` is theirs. */
#if defined(_OPENMP)
#define PRAGMA(text) _Pragma(#text)
#define TEAM(team, most) \
    struct team team = {0}; \
    PRAGMA(omp parallel num_threads(most)) \
    for (int once_ = start(&team); once_; once_ = 0)
static inline int start(struct team *team) {
#pragma omp single
    team->threads = omp_get_num_threads();
    return 1;
}
/* Which of them runs here, from 0. */
static inline int member(void) { return omp_get_thread_num(); }
#else
#define TEAM(team, most) \
    struct team team = {.threads = 1}; \
    (void)(most);
static inline int member(void) { return 0; }
#endif

#endif
