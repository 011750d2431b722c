/*
 * A test kernel for the mipssim board: it says what it finds, then obeys lines from the serial port,
 * which it receives by interrupts.
 *
 * cc -march=mips32 -mno-abicalls -fno-pic -G0 -O1 -ffreestanding -nostdlib -static
 *    -Wl,-Ttext=0x80010000,--build-id=none start.S kernel.c
 */

typedef unsigned int word;

#define UNCACHED 0xa0000000u
#define IO 0xbfd00000u
#define FIRMWARE 0xbfc00000u
#define MIPSNET 0x4200u
#define SERIAL 0x3f8u
#define INTERRUPT_LINE 4 /* bit of Cause.IP: IP4 */

enum { DATA, IER, IIR, LCR, MCR, LSR };

extern char vector[], vector_end[], _end[];

static volatile word bus_errors, serial_interrupts, interrupt_bits, timer_interrupts;
static volatile char received[64];
static volatile word arrived;

static volatile unsigned char *port(word number) { return (unsigned char *)(IO + number); }

static void put(char c)
{
    while (!(*port(SERIAL + LSR) & 0x20))
        ;
    *port(SERIAL + DATA) = c;
}

static void say(const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            put('\r');
        put(*text);
    }
}

static void say_hex(word value)
{
    for (int shift = 28; shift >= 0; shift -= 4)
        put("0123456789abcdef"[value >> shift & 15]);
}

static void report(const char *name, word value)
{
    say(name);
    say(": ");
    say_hex(value);
    say("\n");
}

static word status(void)
{
    word value;
    __asm__ volatile("mfc0 %0, $12" : "=r"(value));
    return value;
}

static void set_status(word value) { __asm__ volatile("mtc0 %0, $12; ehb" : : "r"(value)); }

static word count(void)
{
    word value;
    __asm__ volatile("mfc0 %0, $9" : "=r"(value));
    return value;
}

/* Called with Cause and EPC; returns where to go on. */
word exception(word cause, word epc)
{
    if ((cause >> 2 & 31) == 7) { /* a bus error in data: leave the access out */
        bus_errors++;
        return epc + 4;
    }
    if (cause >> 2 & 31) {
        report("unexpected exception", cause);
        for (;;)
            ;
    }
    if (cause & 1 << 15) {
        timer_interrupts++;
        __asm__ volatile("mtc0 $0, $11"); /* Compare: far away */
    }
    if (cause & 0x7c00) {
        word kind = *port(SERIAL + IIR) & 15;
        interrupt_bits |= cause >> 8 & 0x7c;
        serial_interrupts++;
        if (kind == 2)
            *port(SERIAL + IER) = 0;
        while (*port(SERIAL + LSR) & 1)
            received[arrived++ & 63] = *port(SERIAL + DATA);
    }
    return epc;
}

/* A word, or a byte, of which nobody knows whether it is there. */
static word peek(const char *name, word address)
{
    word before = bus_errors, value = *(volatile word *)address;
    if (bus_errors != before) {
        say(name);
        say(": bus error\n");
        return 0;
    }
    report(name, value);
    return value;
}

static word memory_size(void)
{
    word size, before = bus_errors;
    for (size = 1 << 20; size < 256 << 20; size += 1 << 20) {
        volatile word *here = (word *)(UNCACHED + size - 4);
        word old = *here;
        if (bus_errors != before)
            break;
        *here = ~old;
        if (*here != ~old || bus_errors != before)
            break;
        *here = old;
    }
    return size - (1 << 20);
}

static int same(const char *a, const volatile char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static void obey(const volatile char *line)
{
    if (same("count", line))
        report("count", count());
    else if (same("timer", line)) {
        word before = timer_interrupts;
        __asm__ volatile("mtc0 %0, $11" : : "r"(count() + 100000));
        while (timer_interrupts == before)
            __asm__ volatile("wait");
        say("timer: interrupted\n");
    } else if (same("interrupts", line))
        report("lines", interrupt_bits);
    else {
        say("you say ");
        say((const char *)line);
        say("\n");
    }
}

void start(word a0, word a1, word a2, word a3)
{
    word first_status = status();
    const char *disk = (const char *)(((word)_end + 0xffff) & ~0xffffu);
    volatile word *to = (word *)(UNCACHED + 0x180);
    for (word *from = (word *)vector; from < (word *)vector_end; from++)
        *to++ = *from;
    set_status(0);

    say("mipssim test kernel\n");
    report("arguments", a0 | a1 | a2 | a3);
    report("status", first_status & 0x00400004);
    report("memory", memory_size());
    peek("memory end", UNCACHED + (128 << 20));
    peek("firmware", FIRMWARE);
    *(volatile word *)FIRMWARE = 0x12345678;
    peek("firmware", FIRMWARE);
    peek("hole", 0xbe000000);
    peek("port 0", IO);
    peek("mipsnet", IO + MIPSNET);
    peek("after ports", IO + 0x10000);
    say("initial disk: ");
    for (int i = 0; i < 16 && disk[i] > ' '; i++)
        put(disk[i]);
    say("\n");

    report("line control", *port(SERIAL + LCR));
    set_status(0x0000fc01);
    *port(SERIAL + MCR) = 8;
    *port(SERIAL + IER) = 2;
    while (!serial_interrupts)
        ;
    report("lines", interrupt_bits);
    report("identification", *port(SERIAL + IIR) & 15);
    *port(SERIAL + IER) = 1;

    char line[64];
    word length = 0, taken = 0;
    say("> ");
    for (;;) {
        while (taken == arrived)
            __asm__ volatile("wait");
        char c = received[taken++ & 63];
        if (c != '\r' && c != '\n') {
            if (length < 63)
                line[length++] = c;
            continue;
        }
        line[length] = 0;
        length = 0;
        if (same("quit", line))
            break;
        obey(line);
        say("> ");
    }
    say("done\n");
    for (;;)
        __asm__ volatile("wait");
}
