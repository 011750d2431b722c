/* Double precision. */
#define REAL double
#define SQRT sqrt
#include "floating.h"

int main(int argc, char **argv)
{
    return run("double", rounds(argc, argv, 900));
}
