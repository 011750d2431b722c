/* Values for a debugger: functions, floating point, a record whose members share a page. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

volatile struct {
    char pad[3];
    char byte;
    int before;
    int watched;
    int after;
    double number;
    char text[16];
} record;

volatile int counter;
double factor = 1.5;

int add(int a, int b)
{
    int sum = a + b;
    counter += sum;
    return sum;
}

double scale(double x)
{
    double result = x * factor;
    return result;
}

int twice(int x)
{
    return add(x, x);
}

static int read_watched(void)
{
    return record.watched;
}

static void touch_record(void)
{
    int ends[2];

    for (int i = 0; i < 500; i++) {
        record.before++;
        record.after += record.before;
    }
    record.watched = 5;
    record.after = read_watched();
    record.byte = 3;
    record.watched++;
    record.number = record.after * 1.5;
    if (pipe(ends) == 0 && write(ends[1], "through a pipe", 14) == 14)
        read(ends[0], (char *)record.text, 14);
}

int main(int argc, char **argv)
{
    int total = 0;

    for (int i = 0; i < 10; i++)
        total += add(i, 10);
    total += twice(4);
    factor = scale(total);
    touch_record();
    printf("%d %g %s %d\n", total, factor, (char *)record.text, record.watched);
    return counter & 0x7f;
}
