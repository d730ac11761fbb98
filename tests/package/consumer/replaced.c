/* replaced.c: a program linked with the drop-in: its malloc must come from there. */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
  Dl_info info;
  void* ptr = malloc(100);
  void* address = dlsym(RTLD_DEFAULT, "malloc");
  if (ptr == NULL || address == NULL || dladdr(address, &info) == 0) return 1;
  free(ptr);
  printf("malloc of %s\n", info.dli_fname);
  return strstr(info.dli_fname, "libweir-malloc") != NULL ? 0 : 2;
}
