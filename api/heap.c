#include "api/heap.h"

#include <stddef.h>

#include "wal/base.h"

/* Makes one tree of two roots: the one of the larger key becomes the first child of the other. */
static struct heap_node *meld(struct heap_node *a, struct heap_node *b)
{
    if (!a || !b)
        return a ? a : b;
    if (b->key < a->key) {
        struct heap_node *c = a;
        a = b;
        b = c;
    }
    b->previous = a;
    b->next = a->child;
    if (b->next)
        b->next->previous = b;
    a->child = b;
    return a;
}

/* Takes the first node off a list of siblings, as a root of its own. */
static struct heap_node *take_root(struct heap_node **siblings)
{
    struct heap_node *root = *siblings;
    if (root) {
        *siblings = root->next;
        root->next = root->previous = NULL;
    }
    return root;
}

/* Makes one tree of siblings: melds pairs from the left, then the pairs from the right. That this
 * goes in pairs is what keeps the heap fast. */
static struct heap_node *meld_siblings(struct heap_node *siblings)
{
    struct heap_node *pairs = NULL, *root = NULL;
    while (siblings) {
        struct heap_node *first = take_root(&siblings);
        struct heap_node *pair = meld(first, take_root(&siblings));
        pair->next = pairs;
        pairs = pair;
    }
    while (pairs) {
        struct heap_node *pair = take_root(&pairs);
        root = meld(root, pair);
    }
    return root;
}

void heap_add(struct heap_node **heap, struct heap_node *node, uint64_t key)
{
    *node = (struct heap_node){.key = key};
    *heap = meld(*heap, node);
}

void heap_remove(struct heap_node **heap, struct heap_node *node)
{
    if (node == *heap) {
        *heap = meld_siblings(TAKE(node->child));
        return;
    }
    if (node->previous->child == node)
        node->previous->child = node->next;
    else
        node->previous->next = node->next;
    if (node->next)
        node->next->previous = node->previous;
    node->next = node->previous = NULL;
    *heap = meld(*heap, meld_siblings(TAKE(node->child)));
}
