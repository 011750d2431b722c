/* Prints what depends on the compiler, the C library and the processor alike. */
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

struct tree {
    struct tree *left, *right;
    unsigned key;
};

static struct tree *insert(struct tree *tree, unsigned key)
{
    if (!tree) {
        tree = calloc(1, sizeof *tree);
        tree->key = key;
    } else if (key < tree->key)
        tree->left = insert(tree->left, key);
    else
        tree->right = insert(tree->right, key);
    return tree;
}

static int depth(const struct tree *tree)
{
    if (!tree)
        return 0;
    int left = depth(tree->left), right = depth(tree->right);
    return 1 + (left > right ? left : right);
}

static double mean(int count, ...)
{
    double sum = 0;
    va_list values;
    va_start(values, count);
    for (int i = 0; i < count; i++)
        sum += va_arg(values, double);
    va_end(values);
    return sum / count;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void *add(void *argument)
{
    for (int i = 0; i < 10000; i++)
        __atomic_fetch_add((long *)argument, i, __ATOMIC_SEQ_CST);
    return NULL;
}

static jmp_buf back;

static void on_fault(int signo)
{
    longjmp(back, signo);
}

int main(int argc, char **argv)
{
    printf("%d %s %s\n", argc, argv[1], argv[2]);
    struct tree *tree = NULL;
    uint32_t state = atoi(argv[1]);
    for (int i = 0; i < 20000; i++)
        tree = insert(tree, state = state * 1664525 + 1013904223);
    printf("depth %d\n", depth(tree));
    printf("%.15g %.9f %a %Lg\n", mean(3, 1.0, 2.5, 1e10), sin(1e6), pow(2, -1050), 1.0L / 3);
    printf("%lld %llu %d\n", (long long)state << 31, ~0ull / state, -7 / 2 + -7 % 3);
    char *words[] = {"pear", "apple", "fig", "banana"};
    qsort(words, 4, sizeof *words, compare);
    printf("%s %s %s %s\n", words[0], words[1], words[2], words[3]);
    pthread_t threads[4];
    long sum = 0;
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, add, &sum);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    printf("sum %ld\n", sum);
    setlocale(LC_ALL, "C.UTF-8");
    wchar_t wide[16];
    printf("%zu %d\n", mbstowcs(wide, "a\xc3\xa9\xe2\x82\xac", 16), (int)wide[2]);
    signal(SIGSEGV, on_fault);
    int signo = setjmp(back);
    if (!signo)
        *(volatile int *)8 = 1;
    printf("caught %d\n", signo == SIGSEGV);
    fprintf(stderr, "%s\n", fopen("/nonexistent", "r") ? "open" : strerror(errno));
    return 3;
}
