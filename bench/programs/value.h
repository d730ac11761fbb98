// Values of a small dynamic language: numbers, strings and tables, each a reference-counted heap object; a table is a
// chained hash table whose nodes are allocated one by one. Belongs to one thread. Values must not form cycles.
#ifndef WEIR_BENCH_PROGRAMS_VALUE_H_
#define WEIR_BENCH_PROGRAMS_VALUE_H_

#include <charconv>
#include <new>
#include <string_view>
#include <utility>

#include "common.h"

namespace bench {

class Table;

class Value {
 public:
  static Value of(double number) {
    Value v(Type::kNumber, sizeof(Object));
    v.object_->number = number;
    return v;
  }
  static Value of(std::string_view text) {
    Value v(Type::kString, sizeof(Object) + text.size());
    v.object_->length = text.size();
    memcpy(v.characters(), text.data(), text.size());
    return v;
  }
  static Value new_table();
  static Value join(const Value& a, const Value& b) {
    Value v(Type::kString, sizeof(Object) + a.string().size() + b.string().size());
    v.object_->length = a.string().size() + b.string().size();
    memcpy(v.characters(), a.string().data(), a.string().size());
    memcpy(v.characters() + a.string().size(), b.string().data(), b.string().size());
    return v;
  }

  Value(const Value& other) : object_(other.object_) { ++object_->references; }
  Value(Value&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Value& operator=(Value other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Value() {
    if (object_ != nullptr && --object_->references == 0) destroy();
  }

  double number() const { return expect(Type::kNumber)->number; }
  std::string_view string() const { return {reinterpret_cast<char*>(expect(Type::kString) + 1), object_->length}; }
  Table& table() const { return *expect(Type::kTable)->table; }

  // Strings as they are, numbers in digits, tables by a fixed word.
  Value to_text() const {
    if (object_->type == Type::kString) return *this;
    if (object_->type == Type::kTable) return of(std::string_view("table"));
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof digits, object_->number).ptr;
    return of(std::string_view(digits, static_cast<size_t>(end - digits)));
  }

 private:
  enum class Type : uint32_t { kNumber, kString, kTable };
  struct Object {
    uint32_t references;
    Type type;
    union {
      double number;
      size_t length;  // the characters follow
      Table* table;
    };
  };

  Value(Type type, size_t size) : object_(static_cast<Object*>(must_malloc(size))) {
    object_->references = 1;
    object_->type = type;
  }
  Object* expect(Type type) const {
    if (object_->type != type) fail("interpreter: a value of the wrong type");
    return object_;
  }
  char* characters() { return reinterpret_cast<char*>(object_ + 1); }
  void destroy();

  Object* object_;
};

class Table {
 public:
  Table() : buckets_(make_buckets(kFirstBuckets)), bucket_count_(kFirstBuckets) {}
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;
  ~Table() {
    for (size_t i = 0; i < bucket_count_; ++i) {
      while (buckets_[i] != nullptr) remove(&buckets_[i]);
    }
    free(buckets_);
  }

  size_t size() const { return size_; }

  // Valid until the table changes.
  const Value* find(std::string_view key) const {
    const uint64_t h = hash(key);
    Node* node = buckets_[h & (bucket_count_ - 1)];
    while (node != nullptr && (node->hash != h || node->key.string() != key)) node = node->next;
    return node == nullptr ? nullptr : &node->value;
  }

  void set(const Value& key, Value value) {
    if (const Value* old = find(key.string()); old != nullptr) {
      *const_cast<Value*>(old) = std::move(value);
      return;
    }
    if (size_ == bucket_count_) grow();
    const uint64_t h = hash(key.string());
    Node*& head = buckets_[h & (bucket_count_ - 1)];
    head = new (must_malloc(sizeof(Node))) Node{head, h, key, std::move(value)};
    ++size_;
  }

  void erase(std::string_view key) {
    const uint64_t h = hash(key);
    Node** link = &buckets_[h & (bucket_count_ - 1)];
    while (*link != nullptr && ((*link)->hash != h || (*link)->key.string() != key)) link = &(*link)->next;
    if (*link != nullptr) remove(link);
  }

  template <typename Visit>
  void for_each(Visit visit) const {
    for (size_t i = 0; i < bucket_count_; ++i) {
      for (Node* node = buckets_[i]; node != nullptr; node = node->next) visit(node->key, node->value);
    }
  }

 private:
  static constexpr size_t kFirstBuckets = 4;  // most tables are frames and records of a few names

  struct Node {
    Node* next;
    uint64_t hash;
    Value key, value;
  };

  static uint64_t hash(std::string_view key) {
    uint64_t h = 0x9e3779b97f4a7c15u;
    for (char c : key) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    return mix(h);
  }
  static Node** make_buckets(size_t count) {
    auto** buckets = static_cast<Node**>(calloc(count, sizeof(Node*)));
    if (buckets == nullptr) fail("calloc returned null");
    return buckets;
  }
  void remove(Node** link) {
    Node* node = *link;
    *link = node->next;
    node->~Node();
    free(node);
    --size_;
  }
  void grow() {
    Node** bigger = make_buckets(bucket_count_ * 2);
    for (size_t i = 0; i < bucket_count_; ++i) {
      while (Node* node = buckets_[i]) {
        buckets_[i] = node->next;
        Node*& head = bigger[node->hash & (bucket_count_ * 2 - 1)];
        node->next = head;
        head = node;
      }
    }
    free(buckets_);
    buckets_ = bigger;
    bucket_count_ *= 2;
  }

  Node** buckets_;
  size_t bucket_count_;
  size_t size_ = 0;
};

inline Value Value::new_table() {
  Value v(Type::kTable, sizeof(Object));
  v.object_->table = new (must_malloc(sizeof(Table))) Table;
  return v;
}

inline void Value::destroy() {
  if (object_->type == Type::kTable) {
    object_->table->~Table();
    free(object_->table);
  }
  free(object_);
}

}  // namespace bench

#endif  // WEIR_BENCH_PROGRAMS_VALUE_H_
