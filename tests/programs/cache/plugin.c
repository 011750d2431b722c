/* A library of `plugins`, whose answers depend on FACTOR. */
unsigned answer(unsigned x) { return x * FACTOR + 1; }
