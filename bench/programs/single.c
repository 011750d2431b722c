/* Single precision. */
#define REAL float
#define SQRT sqrtf
#include "floating.h"

int main(int argc, char **argv)
{
    return run("single", rounds(argc, argv, 900));
}
