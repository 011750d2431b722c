/* The same with accesses of 64 bits. */
#include "faultplace.c"
