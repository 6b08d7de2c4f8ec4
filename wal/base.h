/*
 * The few words that every folder shares: assertions that stay on in release builds, cleanup of
 * half-built objects, and small arithmetic. Public.
 */
#ifndef WAL_BASE_H
#define WAL_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An assertion about our own code, never about the world: errors of the world are return values.
 * It stays on in every build, since CMake's release flags define NDEBUG and so delete assert(). */
#define must(condition)                                                                            \
    ((condition) ? (void)0 : must_failed(#condition, __FILE__, __LINE__, __func__))

/* Prints the broken assertion to stderr and aborts. */
_Noreturn void must_failed(const char *condition, const char *file, int line, const char *function);

/* Runs a destructor when the variable leaves its scope: CLEANUP(segment_freep) struct segment *s; */
#define CLEANUP(destructor) __attribute__((cleanup(destructor)))

/* Hands the pointer on and leaves NULL behind, so that CLEANUP finds nothing to clean. */
#define TAKE(pointer)                                                                              \
    (__extension__({                                                                               \
        __typeof__(pointer) *taken_from_ = &(pointer);                                             \
        __typeof__(pointer) taken_ = *taken_from_;                                                 \
        *taken_from_ = NULL;                                                                       \
        taken_;                                                                                    \
    }))

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* The object that holds this member: container_of(op, struct wal, commit_op). */
#define container_of(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* Rounds up to a multiple of a power of two; the caller keeps value + alignment in range. */
static inline uint64_t round_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

static inline uint64_t round_down(uint64_t value, uint64_t alignment)
{
    return value & ~(alignment - 1);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

#endif
