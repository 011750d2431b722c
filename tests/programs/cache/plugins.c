/* Loads two libraries in turn, which come to lie at the same addresses. */
#include <dlfcn.h>
#include <stdio.h>

#include "work.h"

typedef unsigned function(unsigned);

int main(int argc, char **argv) {
    printf("%u\n", work());
    for (int i = 1; i < argc; i++) {
        void *library = dlopen(argv[i], RTLD_NOW);
        if (!library) return puts(dlerror()), 1;
        function *answer = (function *)dlsym(library, "answer");
        unsigned sum = 0;
        for (int n = 0; n < 5000; n++) sum = sum * 5 + answer(n);
        printf("%u\n", sum);
        dlclose(library);
    }
    return 0;
}
