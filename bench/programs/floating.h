/* Floating point, in the type REAL that the including file chooses: planets, matrices, Mandelbrot's
   set, a Fourier transform, an iteration with division and square roots. */
#include <math.h>
#include <string.h>

#include "bench.h"

/* A number into a checksum by value, rounded, so that the type's own rounding shows. */
static uint32_t mix_real(uint32_t sum, REAL value)
{
    return mix(sum, (uint32_t)(int32_t)(value * (REAL)65536));
}

#define BODIES 5
struct body {
    REAL at[3], speed[3], mass;
};
static struct body bodies[BODIES];

static void start_bodies(void)
{
    for (int i = 0; i < BODIES; i++) {
        for (int k = 0; k < 3; k++) {
            bodies[i].at[k] = (REAL)((i * 7 + k * 5) % 11) - (REAL)5;
            bodies[i].speed[k] = (REAL)((i * 3 + k) % 5) / (REAL)8 - (REAL)0.25;
        }
        bodies[i].mass = (REAL)1 + (REAL)i / (REAL)4;
    }
}

static void move_bodies(REAL step)
{
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) {
            REAL d[3], squared = (REAL)0.01;
            for (int k = 0; k < 3; k++) {
                d[k] = bodies[i].at[k] - bodies[j].at[k];
                squared += d[k] * d[k];
            }
            REAL force = step / (squared * SQRT(squared));
            for (int k = 0; k < 3; k++) {
                bodies[i].speed[k] -= d[k] * bodies[j].mass * force;
                bodies[j].speed[k] += d[k] * bodies[i].mass * force;
            }
        }
    for (int i = 0; i < BODIES; i++)
        for (int k = 0; k < 3; k++)
            bodies[i].at[k] += step * bodies[i].speed[k];
}

#define SIDE 48
static REAL a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];

static void multiply(void)
{
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            REAL total = 0;
            for (int k = 0; k < SIDE; k++)
                total += a[i][k] * b[k][j];
            c[i][j] = total;
        }
}

static uint32_t mandelbrot(int size)
{
    uint32_t total = 0;
    for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++) {
            REAL cr = (REAL)3 * x / size - (REAL)2, ci = (REAL)2 * y / size - (REAL)1;
            REAL zr = 0, zi = 0;
            int n = 0;
            while (n < 60 && zr * zr + zi * zi < (REAL)4) {
                REAL next = zr * zr - zi * zi + cr;
                zi = (REAL)2 * zr * zi + ci;
                zr = next;
                n++;
            }
            total += (uint32_t)n;
        }
    return total;
}

#define POINTS 256
static REAL re[POINTS], im[POINTS];

static void transform(void)
{
    for (unsigned i = 1, j = 0; i < POINTS; i++) {
        unsigned bit = POINTS >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j |= bit;
        if (i < j) {
            REAL swapped = re[i];
            re[i] = re[j];
            re[j] = swapped;
            swapped = im[i];
            im[i] = im[j];
            im[j] = swapped;
        }
    }
    for (unsigned length = 2; length <= POINTS; length <<= 1) {
        /* Half the turn's sine and cosine, by halving from a quarter turn. */
        REAL wr = -1, wi = 0;
        for (unsigned n = 2; n < length; n <<= 1) {
            REAL cosine = SQRT(((REAL)1 + wr) / (REAL)2);
            wi = n == 2 ? (REAL)1 : wi / ((REAL)2 * cosine);
            wr = cosine;
        }
        for (unsigned start = 0; start < POINTS; start += length) {
            REAL ur = 1, ui = 0;
            for (unsigned k = start; k < start + length / 2; k++) {
                REAL vr = re[k + length / 2] * ur - im[k + length / 2] * ui;
                REAL vi = re[k + length / 2] * ui + im[k + length / 2] * ur;
                re[k + length / 2] = re[k] - vr;
                im[k + length / 2] = im[k] - vi;
                re[k] += vr;
                im[k] += vi;
                REAL turned = ur * wr - ui * wi;
                ui = ur * wi + ui * wr;
                ur = turned;
            }
        }
    }
}

static REAL iterate(REAL x, int count)
{
    while (count--)
        x = (x + (REAL)2 / x) / (REAL)2 + (x > (REAL)1.4 ? (REAL)0.001 : (REAL)-0.001);
    return x;
}

static int run(const char *name, unsigned count)
{
    uint32_t sum = 1, random = 31337;
    start_bodies();
    while (count--) {
        for (int i = 0; i < 400; i++)
            move_bodies((REAL)0.001);
        sum = mix_real(sum, bodies[count % BODIES].at[0]);
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++) {
                a[i][j] = (REAL)(next_random(&random) & 255) / (REAL)64;
                b[i][j] = (REAL)(next_random(&random) & 255) / (REAL)64;
            }
        multiply();
        sum = mix_real(sum, c[count % SIDE][count % 7]);
        sum = mix(sum, mandelbrot(32));
        for (int i = 0; i < POINTS; i++) {
            re[i] = (REAL)((int)(next_random(&random) & 511) - 256) / (REAL)256;
            im[i] = 0;
        }
        transform();
        sum = mix_real(sum, re[count % POINTS] + im[count % 99]);
        sum = mix_real(sum, iterate((REAL)1 + (REAL)(count & 7), 3000));
    }
    return finish(name, sum);
}
