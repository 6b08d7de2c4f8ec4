/*
 * Rings of nodes that live in what they stand for. A node leaves the ring it is in without anybody
 * knowing which one that is, and all of a ring moves to another at once, however many they are.
 */
#ifndef API_LIST_H
#define API_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* A ring is a node of its own between its last and its first. */
struct list_node {
    struct list_node *prev, *next;
};

static inline void list_init(struct list_node *node)
{
    node->prev = node->next = node;
}

/* The ring has no other; the node is in no ring. */
static inline bool list_is_empty(const struct list_node *node)
{
    return node->next == node;
}

/* Behind the last. The node is in no ring. */
static inline void list_add(struct list_node *ring, struct list_node *node)
{
    node->prev = ring->prev;
    node->next = ring;
    ring->prev->next = node;
    ring->prev = node;
}

/* It may be in none. */
static inline void list_remove(struct list_node *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* All of `from`, in their order, behind the last of `to`. */
static inline void list_move_all(struct list_node *to, struct list_node *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

/* NULL: there is none. */
static inline struct list_node *list_first(const struct list_node *ring)
{
    /* That a node leaves its ring before it is freed is beyond the analyzer. */
    return list_is_empty(ring) ? NULL : ring->next; /* NOLINT(clang-analyzer-unix.Malloc) */
}

#endif
