// tls_destructors.cc: memory may be allocated and freed while a thread's data is being torn down: in destructors of
// pthread keys (made before and after main began, which set themselves again), of C++ thread_local objects, and at
// exit.
#include <pthread.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "contract.h"

namespace {

constexpr int kThreads = 64;
pthread_key_t early_key;
pthread_key_t late_key;
std::atomic<int> key_destructions{0};
std::atomic<int> object_destructions{0};
std::atomic<void*> left_behind[kThreads * 4];
std::atomic<int> left_count{0};

void churn() {
  std::vector<std::unique_ptr<char[]>> objects;
  for (size_t i = 0; i < 40; ++i) objects.push_back(std::make_unique<char[]>(i * i * 41 + 1));
}

struct Value {
  pthread_key_t* key;
  int rounds;
  std::string text;
};

// Sets itself again for as many rounds as POSIX grants, so that it runs after every other key's destructor too.
void destroy_value(void* ptr) {
  Value* value = static_cast<Value*>(ptr);
  CHECK(value->text == std::string(300, 'v'));
  churn();
  ++key_destructions;
  void* object = malloc(123);
  fill(object, 123, 4);
  int place = left_count++;
  if (place < kThreads * 4) {
    left_behind[place] = object;
  } else {
    free(object);
  }
  Value* next = value->rounds > 1 ? new Value{value->key, value->rounds - 1, value->text} : nullptr;
  pthread_key_t* key = value->key;
  delete value;
  if (next != nullptr) pthread_setspecific(*key, next);
}

__attribute__((constructor(101))) void make_early_key() {
  CHECK(pthread_key_create(&early_key, destroy_value) == 0);
}

struct Local {
  std::vector<std::string> lines = std::vector<std::string>(20, std::string(90, 'l'));
  ~Local() {
    churn();
    for (const std::string& line : lines) CHECK(line.size() == 90);
    ++object_destructions;
  }
  void touch() { lines.emplace_back(90, 'm'); }
};

thread_local Local local;

void live() {
  local.touch();
  pthread_setspecific(early_key, new Value{&early_key, PTHREAD_DESTRUCTOR_ITERATIONS, std::string(300, 'v')});
  pthread_setspecific(late_key, new Value{&late_key, 2, std::string(300, 'v')});
  churn();
}

void* live_and_exit(void*) {
  live();
  pthread_exit(nullptr);
}

struct AtExit {
  std::vector<std::string> lines = std::vector<std::string>(10, std::string(500, 's'));
  ~AtExit() {
    churn();
    for (const std::string& line : lines) CHECK(line.size() == 500);
  }
};

AtExit at_exit_object;

}  // namespace

int main() {
  contract_begin(60);
  CHECK(pthread_key_create(&late_key, destroy_value) == 0);
  for (int round = 0; round < 2; ++round) {
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads / 2; ++i) threads.emplace_back(live);
    for (std::thread& thread : threads) thread.join();
  }
  CHECK(object_destructions == kThreads);
  CHECK(key_destructions == kThreads * (PTHREAD_DESTRUCTOR_ITERATIONS + 2));
  for (std::atomic<void*>& object : left_behind) {
    CHECK(filled(object.load(), 123, 4));
    free(object.load());
  }
  pthread_t thread;
  CHECK(pthread_create(&thread, nullptr, live_and_exit, nullptr) == 0);
  CHECK(pthread_join(thread, nullptr) == 0);
  CHECK(object_destructions == kThreads + 1);
  local.touch();
  atexit(churn);
  return 0;
}
