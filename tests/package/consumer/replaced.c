/* replaced.c: a program linked with the drop-in: its malloc must come from there, and its free knows heaps. */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/weir.h>

int main(void) {
  Dl_info info;
  void* ptr = malloc(100);
  void* address = dlsym(RTLD_DEFAULT, "malloc");
  if (ptr == NULL || address == NULL || dladdr(address, &info) == 0) return 1;
  free(ptr);
  weir_heap_t heap = weir_heap_create("linked", NULL);
  ptr = weir_heap_malloc(heap, 100);
  ptr = realloc(ptr, 100000);
  if (ptr == NULL || weir_heap_of(ptr) != heap) return 3;
  free(ptr);
  if (weir_heap_destroy(heap) != 0) return 4;
  printf("malloc of %s\n", info.dli_fname);
  return strstr(info.dli_fname, "libweir-malloc") != NULL ? 0 : 2;
}
