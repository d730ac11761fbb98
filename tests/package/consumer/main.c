/* main.c: a C program that uses libweir beside its own malloc. */
#include <stdio.h>
#include <string.h>
#include <weir/weir.h>

int main(void) {
  char* text = weir_malloc(100);
  if (text == NULL) return 1;
  strcpy(text, "in libweir");
  text = weir_realloc(text, 5000);
  if (text == NULL || strcmp(text, "in libweir") != 0 || weir_usable_size(text) < 5000) return 2;
  weir_free(text);
  weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
  options.limit = 1 << 20;
  weir_heap_t heap = weir_heap_create("consumer", &options);
  if (heap == NULL || weir_heap_malloc(heap, 2 << 20) != NULL) return 4;
  char* object = weir_heap_malloc(heap, 1000);
  if (object == NULL || weir_heap_of(object) != heap || weir_heap_destroy(heap) != 0) return 5;
  if (weir_debug_verify() != 1) return 3;
  printf("weir %s\n", weir_version());
  return 0;
}
