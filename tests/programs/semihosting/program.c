/* Uses the host's files and console by UHI, and tells of results and error numbers.
   Its second argument is the name of a file, the third what it is to do. */

typedef unsigned int word;
enum { EXIT = 1, OPEN, CLOSE, READ, WRITE, SEEK, UNLINK, STAT, ARGC, LENGTH, ARGUMENT, LOG = 13,
       ASSERT, READ_AT = 19, WRITE_AT, LINK = 22 };

char stack[4096];
__asm__(".globl _start\n_start: la $29, stack + 4096 - 32\n j start\n");

static int error;
static char buffer[256];

static long uhi(long operation, long first, long second, long third, long fourth)
{
    register long t9 __asm__("$25") = operation, a0 __asm__("$4") = first;
    register long a1 __asm__("$5") = second, a2 __asm__("$6") = third, a3 __asm__("$7") = fourth;
    register long v0 __asm__("$2") = 1, v1 __asm__("$3") = 0;
    __asm__ volatile(".word 0x7000007f" : "+r"(v0), "+r"(v1)
                     : "r"(t9), "r"(a0), "r"(a1), "r"(a2), "r"(a3) : "memory");
    error = v1;
    return v0;
}

static void put(const char *text)
{
    int length = 0;
    while (text[length])
        length++;
    uhi(WRITE, 1, (long)text, length, 0);
}

static void number(long value)
{
    char digits[12], *at = digits + 11;
    int negative = value < 0;
    *at = 0;
    if (negative)
        value = -value;
    do
        *--at = '0' + value % 10;
    while (value /= 10);
    if (negative)
        *--at = '-';
    put(at);
}

static void say(const char *what, long result)
{
    int code = error;
    put(what);
    put(" ");
    number(result);
    put(" ");
    number(result < 0 ? code : 0);
    put("\n");
}

static char does(char name)
{
    char words[8];
    uhi(ARGUMENT, 2, (long)words, 0, 0);
    return words[0] == name;
}

void start(void)
{
    static char name[200];
    long count = uhi(ARGC, 0, 0, 0, 0), file;
    say("arguments", count);
    for (long at = 1; at < count; at++)
        say("length", uhi(LENGTH, at, 0, 0, 0));
    say("beyond", uhi(LENGTH, 99, 0, 0, 0));
    uhi(ARGUMENT, 1, (long)name, 0, 0);
    say("no file", uhi(OPEN, (long)"/nonexistent/file", 0, 0, 0));
    say("stdout", uhi(OPEN, (long)"/dev/stdout", 1, 0, 0));
    file = uhi(OPEN, (long)name, 0x602, 0644, 0);
    say("open", file);
    say("exclusive", uhi(OPEN, (long)name, 0xa02, 0644, 0));
    say("write", uhi(WRITE, file, (long)"some data", 9, 0));
    say("seek", uhi(SEEK, file, 5, 0, 0));
    say("read", uhi(READ, file, (long)buffer, 100, 0));
    say("stat", uhi(STAT, file, (long)buffer, 0, 0));
    say("size", ((word *)buffer)[4] + ((word *)buffer)[5]);
    say("mode", ((word *)buffer)[1]);
    if (does('a')) {
        say("bad address", uhi(WRITE, file, 0xc0000000, 100, 0));
        say("read at", uhi(READ_AT, file, (long)buffer, 4, 5));
        buffer[4] = 0;
        put(buffer);
        say("write at", uhi(WRITE_AT, file, (long)"S", 1, 0));
        say("link", uhi(LINK, (long)name, (long)"/nonexistent/file", 0, 0));
    }
    say("close", uhi(CLOSE, file, 0, 0, 0));
    say("closed", uhi(CLOSE, file, 0, 0, 0));
    say("closed", uhi(WRITE, file, (long)buffer, 1, 0));
    if (does('u')) {
        say("unlink", uhi(UNLINK, (long)name, 0, 0, 0));
        say("unlink", uhi(UNLINK, (long)name, 0, 0, 0));
    }
    uhi(LOG, (long)"value %d\n", -42, 0, 0);
    if (!does('u')) {
        say("input", uhi(READ, 0, (long)buffer, 100, 0));
        buffer[5] = 0;
        put(buffer);
    }
    if (does('x'))
        uhi(ASSERT, (long)"x == y", (long)"file.c", 17, 0);
    if (does('n'))
        uhi(99, 0, 0, 0, 0);
    uhi(EXIT, 7, 0, 0, 0);
    put("not reached\n");
}
