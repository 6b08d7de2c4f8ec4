/* The heap of deadlines and of offsets waited for, against a list that is searched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/heap.h"
#include "wal/base.h"

#define NODES 2000
#define STEPS 200000

struct model {
    struct heap_node nodes[NODES];
    bool in[NODES];
    unsigned count;
};

static uint64_t smallest(const struct model *model)
{
    uint64_t key = UINT64_MAX;
    for (unsigned i = 0; i < NODES; i++) {
        if (model->in[i])
            key = min_u64(key, model->nodes[i].key);
    }
    return key;
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

/* Adds and removes at random, the first as well as any other; few keys make many of them equal. */
static void the_first_is_always_the_smallest(void **state)
{
    static const uint64_t key_counts[] = {1, 10, UINT64_C(1) << 31};
    for (size_t k = 0; k < ARRAY_SIZE(key_counts); k++) {
        struct model *model = calloc(1, sizeof(*model));
        struct heap_node *heap = NULL;
        uint64_t seed = 42 + k;
        assert_non_null(model);
        for (unsigned step = 0; step < STEPS; step++) {
            unsigned i = (unsigned)(next_random(&seed) % NODES);
            if (next_random(&seed) % 8 == 0 && heap) /* as when a deadline passes */
                i = (unsigned)(heap - model->nodes);
            if (model->in[i])
                heap_remove(&heap, &model->nodes[i]);
            else
                heap_add(&heap, &model->nodes[i], next_random(&seed) % key_counts[k]);
            model->in[i] = !model->in[i];
            model->count += model->in[i] ? 1u : -1u;
            assert_true((heap == NULL) == (model->count == 0));
            if (step % 64 == 0 && heap)
                assert_int_equal(heap->key, smallest(model));
        }
        uint64_t last = 0;
        while (heap) {
            assert_true(heap->key >= last);
            last = heap->key;
            assert_true(model->in[heap - model->nodes]);
            model->in[heap - model->nodes] = false;
            model->count--;
            heap_remove(&heap, heap);
        }
        assert_int_equal(model->count, 0);
        free(model);
    }
}

/* A hundred thousand in order, and in the opposite order, must not take for ever, nor a deep stack. */
static void many_in_order_are_no_trouble(void **state)
{
    const unsigned count = 100000;
    struct heap_node *nodes = calloc(count, sizeof(*nodes));
    assert_non_null(nodes);
    for (int down = 0; down < 2; down++) {
        struct heap_node *heap = NULL;
        for (unsigned i = 0; i < count; i++)
            heap_add(&heap, &nodes[i], down ? count - i : i);
        for (unsigned i = 0; i < count; i++) {
            assert_ptr_equal(heap, &nodes[down ? count - 1 - i : i]);
            heap_remove(&heap, heap);
        }
        assert_null(heap);
    }
    free(nodes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_is_always_the_smallest),
        cmocka_unit_test(many_in_order_are_no_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
