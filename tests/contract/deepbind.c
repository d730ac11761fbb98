/* deepbind.c: a plug-in loaded with RTLD_DEEPBIND has the program's allocator all the same: both may free what the
 * other allocates. Where it is left the C library's (deepbind=1), the program may free and resize what it gets from
 * there; the plug-in may use the program's objects and hand them back through the program's own free. (The C library's
 * free of a preloaded allocator's pointer never reaches the allocator.) */
// contract: cases=shared,own
#include <malloc.h>

#include "contract.h"

static char* (*plugin_make)(size_t, unsigned);
static char* (*plugin_text)(const char*);
static char* (*plugin_aligned)(size_t, size_t);
static int (*plugin_check_and_return)(void*, size_t, unsigned, void (*)(void*));
static void (*plugin_release_own)(void*);

/* By its name alone: it is found because of the program's DT_RUNPATH, which is that of who calls dlopen. */
static void load(void) {
  void* plugin = dlopen("plugin_deepbind.so", RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  if (plugin == NULL) contract_fail(__FILE__, __LINE__, dlerror());
  *(void**)&plugin_make = dlsym(plugin, "plugin_make");
  *(void**)&plugin_text = dlsym(plugin, "plugin_text");
  *(void**)&plugin_aligned = dlsym(plugin, "plugin_aligned");
  *(void**)&plugin_check_and_return = dlsym(plugin, "plugin_check_and_return");
  *(void**)&plugin_release_own = dlsym(plugin, "plugin_release_own");
  CHECK(plugin_make && plugin_text && plugin_aligned && plugin_check_and_return && plugin_release_own);
}

int main(int argc, char** argv) {
  const size_t sizes[] = {1, 30, 500, 5000, 200 * KIB, 3 * MIB};
  contract_begin(60);
  CHECK(argc == 2);
  int shared = strcmp(argv[1], "shared") == 0;
  if (!shared && getenv("WEIR_CONF") == NULL) exec_self(argv[1], "deepbind=1");
  load();
  for (unsigned round = 0; round < 100; ++round) {
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
      size_t size = sizes[i];
      char* theirs = plugin_make(size, round);
      CHECK(malloc_usable_size(theirs) >= size && filled(theirs, size, round));
      if (round % 2 == 0) {
        theirs = realloc(theirs, size + 3000);
        CHECK(theirs != NULL && filled(theirs, size, round));
      }
      free(theirs);
      free(plugin_aligned(64, size));
      plugin_release_own(plugin_make(size, round));
      char* ours = malloc(size);
      CHECK(ours != NULL);
      if (shared) {
        plugin_release_own(ours);
        ours = malloc(size);
        CHECK(ours != NULL);
      }
      fill(ours, size, round);
      CHECK(plugin_check_and_return(ours, size, round, free) == 1);
    }
    char* text = plugin_text("handed over");
    CHECK(strcmp(text, "handed over") == 0);
    free(text);
  }
  return 0;
}
