/*
 * A heap of nodes that live in what they stand for, so that adding one needs no memory: a pairing
 * heap. Adding takes constant time, removing any node logarithmic time, amortized.
 */
#ifndef API_HEAP_H
#define API_HEAP_H

#include <stdint.h>

/* Private but for `key`, which does not change while the node is in a heap. */
struct heap_node {
    uint64_t key;
    struct heap_node *child, *next, *previous; /* previous: the left neighbour, or the parent */
};

/* A heap is the pointer to its node of the smallest key; NULL: empty. */
void heap_add(struct heap_node **heap, struct heap_node *node, uint64_t key);
void heap_remove(struct heap_node **heap, struct heap_node *node);

#endif
