/* An interpreter for a small register machine: one indirect jump for each of its instructions. */
#include "bench.h"

enum { HALT, SET, MOVE, ADD, SUB, MUL, AND, XOR, SHIFT, LOAD, STORE, LESS, JUMP_IF, JUMP, COUNT };

struct instruction {
    uint8_t op, a, b, c;
    int32_t value;
};

#define CELLS 4096
static uint32_t memory[CELLS];

static uint32_t run(const struct instruction *program, uint32_t argument)
{
    uint32_t r[16] = {argument};
    const struct instruction *at = program;
    for (;;) {
        const struct instruction *i = at++;
        switch (i->op) {
        case HALT: return r[i->a];
        case SET: r[i->a] = (uint32_t)i->value; break;
        case MOVE: r[i->a] = r[i->b]; break;
        case ADD: r[i->a] = r[i->b] + r[i->c] + (uint32_t)i->value; break;
        case SUB: r[i->a] = r[i->b] - r[i->c]; break;
        case MUL: r[i->a] = r[i->b] * r[i->c]; break;
        case AND: r[i->a] = r[i->b] & (r[i->c] | (uint32_t)i->value); break;
        case XOR: r[i->a] = r[i->b] ^ r[i->c]; break;
        case SHIFT: r[i->a] = i->value < 0 ? r[i->b] << -i->value : r[i->b] >> i->value; break;
        case LOAD: r[i->a] = memory[r[i->b] % CELLS]; break;
        case STORE: memory[r[i->b] % CELLS] = r[i->a]; break;
        case LESS: r[i->a] = r[i->b] < r[i->c]; break;
        case JUMP_IF: if (r[i->a]) at += i->value; break;
        case JUMP: at += i->value; break;
        default: abort();
        }
    }
}

/* Sieve of the cells, then a sum over them with a generator's numbers; register 0: the seed. */
static const struct instruction program[] = {
    {SET, 1, 0, 0, 0},           /* i = 0 */
    {SET, 2, 0, 0, CELLS},       /* limit */
    {SET, 15, 0, 0, 0},          /* always zero */
    {STORE, 15, 1, 0, 0},        /* clear: memory[i] = 0 */
    {ADD, 1, 1, 15, 1},
    {LESS, 3, 1, 2, 0},
    {JUMP_IF, 3, 0, 0, -4},
    {SET, 1, 0, 0, 2},           /* n = 2 */
    {LOAD, 4, 1, 0, 0},          /* outer: marked? */
    {JUMP_IF, 4, 0, 0, 6},
    {ADD, 5, 1, 1, 0},           /* m = 2n */
    {SET, 6, 0, 0, 1},
    {JUMP, 0, 0, 0, 2},
    {STORE, 6, 5, 0, 0},         /* inner: mark */
    {ADD, 5, 5, 1, 0},
    {LESS, 3, 5, 2, 0},
    {JUMP_IF, 3, 0, 0, -4},
    {ADD, 1, 1, 15, 1},
    {LESS, 3, 1, 2, 0},
    {JUMP_IF, 3, 0, 0, -12},
    {SET, 1, 0, 0, 0},           /* the sum */
    {SHIFT, 7, 0, 0, -13},       /* xorshift of register 0 */
    {XOR, 0, 0, 7, 0},
    {SHIFT, 7, 0, 0, 17},
    {XOR, 0, 0, 7, 0},
    {SHIFT, 7, 0, 0, -5},
    {XOR, 0, 0, 7, 0},
    {LOAD, 4, 0, 0, 0},
    {MUL, 4, 4, 1, 0},
    {ADD, 8, 8, 4, 1},
    {XOR, 8, 8, 0, 0},
    {ADD, 1, 1, 15, 1},
    {LESS, 3, 1, 2, 0},
    {JUMP_IF, 3, 0, 0, -13},
    {HALT, 8, 0, 0, 0},
};

int main(int argc, char **argv)
{
    uint32_t sum = 1;
    for (unsigned round = rounds(argc, argv, 3800); round; round--)
        sum = mix(sum, run(program, round));
    return finish("interpreter", sum);
}
