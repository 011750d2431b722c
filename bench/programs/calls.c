/* Calls: recursion of several shapes, calls through tables of functions, callbacks. */
#include "bench.h"

static uint32_t __attribute__((noinline)) fibonacci(uint32_t n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint32_t __attribute__((noinline)) ackermann(uint32_t m, uint32_t n)
{
    if (m == 0)
        return n + 1;
    if (n == 0)
        return ackermann(m - 1, 1);
    return ackermann(m - 1, ackermann(m, n - 1));
}

static uint32_t __attribute__((noinline)) takeuchi(int x, int y, int z)
{
    if (y >= x)
        return z;
    return takeuchi(takeuchi(x - 1, y, z), takeuchi(y - 1, z, x), takeuchi(z - 1, x, y));
}

static uint32_t queens(uint32_t all, uint32_t columns, uint32_t left, uint32_t right)
{
    uint32_t found = 0;
    if (columns == all)
        return 1;
    for (uint32_t free = all & ~(columns | left | right); free;) {
        uint32_t bit = free & -free;
        free ^= bit;
        found += queens(all, columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return found;
}

/* A tree of expressions whose nodes know how to evaluate themselves. */
struct node {
    uint32_t (*evaluate)(const struct node *);
    const struct node *left, *right;
    uint32_t value;
};

static uint32_t constant(const struct node *n) { return n->value; }
static uint32_t sum_of(const struct node *n)
{
    return n->left->evaluate(n->left) + n->right->evaluate(n->right);
}
static uint32_t product_of(const struct node *n)
{
    return n->left->evaluate(n->left) * n->right->evaluate(n->right);
}
static uint32_t difference_of(const struct node *n)
{
    return n->left->evaluate(n->left) - n->right->evaluate(n->right);
}

#define NODES 4095
static struct node nodes[NODES];

static void build_tree(void)
{
    static uint32_t (*const inner[])(const struct node *) = {sum_of, product_of, difference_of};
    for (uint32_t i = 0; i < NODES; i++) {
        int leaf = 2 * i + 1 >= NODES;
        nodes[i].evaluate = leaf ? constant : inner[i % 3];
        nodes[i].value = i * 2654435761u;
        nodes[i].left = leaf ? NULL : &nodes[2 * i + 1];
        nodes[i].right = leaf ? NULL : &nodes[2 * i + 2];
    }
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    static uint32_t keys[5000];
    uint32_t sum = 1, random = 999;
    build_tree();
    for (unsigned round = rounds(argc, argv, 480); round; round--) {
        sum = mix(sum, fibonacci(25));
        sum = mix(sum, ackermann(2, 200));
        sum = mix(sum, takeuchi(14, 8, 3));
        sum = mix(sum, queens((1u << 8) - 1, 0, 0, 0));
        for (int i = 0; i < 100; i++) {
            nodes[NODES - 1].value += i;
            sum = mix(sum, nodes[0].evaluate(&nodes[0]));
        }
        for (unsigned i = 0; i < 5000; i++)
            keys[i] = next_random(&random);
        qsort(keys, 5000, sizeof keys[0], compare);
        sum = mix(sum, keys[round % 5000]);
    }
    return finish("calls", sum);
}
