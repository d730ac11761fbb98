/* dlopen_cxx.c: operator new throws a proper bad_alloc also where libstdc++ was not there at the start but came with a
 * plug-in, with local and with global symbols. */
#include <libgen.h>

#include "contract.h"

static int call(void* plugin, const char* name) {
  int (*function)(void) = NULL;
  *(void**)&function = dlsym(plugin, name);
  CHECK(function != NULL);
  return function();
}

static void check_plugin(void* flags) {
  char path[4200];
  char self[4096];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  CHECK(length > 0);
  self[length] = '\0';
  snprintf(path, sizeof path, "%s/plugin_cxx.so", dirname(self));
  void* plugin = dlopen(path, *(int*)flags);
  if (plugin == NULL) contract_fail(__FILE__, __LINE__, dlerror());
  CHECK(call(plugin, "plugin_works") == 1);
  CHECK(call(plugin, "plugin_catches_bad_alloc") == 1);
  CHECK(call(plugin, "plugin_catches_length_error") == 1);
  CHECK(dlclose(plugin) == 0);
}

int main(void) {
  int flags[] = {RTLD_NOW | RTLD_LOCAL, RTLD_LAZY | RTLD_GLOBAL, RTLD_NOW | RTLD_LOCAL};
  contract_begin(60);
  CHECK(dlopen("libstdc++.so.6", RTLD_NOLOAD | RTLD_LAZY) == NULL);
  for (int i = 0; i < 3; ++i) {
    struct ChildResult result = run_child(check_plugin, &flags[i]);
    if (result.length > 0) fputs(result.text, stderr);
    CHECK(exited_with(result.status, 0));
  }
  check_plugin(&flags[0]);
  check_plugin(&flags[1]);
  return 0;
}
