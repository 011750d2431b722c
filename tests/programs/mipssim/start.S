/* Entry and exceptions of the test kernel for the mipssim board. */

        .set    noreorder
        .set    noat
        .globl  _start
        .ent    _start
_start: la      $sp, stack_end
        la      $t0, __bss_start
        la      $t1, _end
1:      sw      $zero, 0($t0)
        addiu   $t0, $t0, 4
        sltu    $t2, $t0, $t1
        bnez    $t2, 1b
        nop
        jal     start                   # a0 to a3 are as the machine left them
        addiu   $sp, $sp, -32
2:      b       2b
        nop
        .end    _start

/* What goes to the vectors: a jump to the code below. */
        .globl  vector
vector: la      $k0, entered
        jr      $k0
        nop
        .globl  vector_end
vector_end:

#define FRAME 112
#define EACH(do) do $1, 16($sp); do $2, 20($sp); do $3, 24($sp); do $4, 28($sp); do $5, 32($sp); \
        do $6, 36($sp); do $7, 40($sp); do $8, 44($sp); do $9, 48($sp); do $10, 52($sp); \
        do $11, 56($sp); do $12, 60($sp); do $13, 64($sp); do $14, 68($sp); do $15, 72($sp); \
        do $24, 76($sp); do $25, 80($sp); do $31, 84($sp)

entered:
        addiu   $sp, $sp, -FRAME
        EACH(sw)
        mfhi    $t0
        sw      $t0, 88($sp)
        mflo    $t0
        sw      $t0, 92($sp)
        mfc0    $a0, $13
        jal     exception
        mfc0    $a1, $14
        mtc0    $v0, $14
        lw      $t0, 88($sp)
        mthi    $t0
        lw      $t0, 92($sp)
        mtlo    $t0
        EACH(lw)
        addiu   $sp, $sp, FRAME
        eret

        .bss
        .align  4
        .space  8192
stack_end:
