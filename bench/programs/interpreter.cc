// A small interpreter of a dynamic language: reference-counted values (numbers, strings, tables with string keys),
// an environment table per call, an expression tree walked node by node. It runs one fixed program that counts words,
// builds and looks up tables, joins strings and recurses.
#include <string_view>
#include <utility>
#include <vector>

#include "common.h"
#include "value.h"

namespace {

using bench::Table;
using bench::Value;

enum class Kind { kNumber, kText, kName, kAdd, kLess, kJoin, kCall };

// An expression; `text` is the name, literal or function called.
struct Expression {
  Kind kind;
  std::string_view text;
  double number;
  std::vector<Expression> parts;
};

Expression number(double n) {
  return {Kind::kNumber, {}, n, {}};
}
Expression text(std::string_view t) {
  return {Kind::kText, t, 0, {}};
}
Expression name(std::string_view n) {
  return {Kind::kName, n, 0, {}};
}
Expression node(Kind kind, Expression a, Expression b, std::string_view t = {}) {
  Expression e{kind, t, 0, {}};
  e.parts.push_back(std::move(a));
  e.parts.push_back(std::move(b));
  return e;
}

class Interpreter {
 public:
  explicit Interpreter(uint64_t seed) : rng_(seed) {
    // fib(n, label) = n < 2 ? n : fib(n - 1, label .. "l") + fib(n - 2, label .. "r")
    fib_ =
        node(Kind::kAdd,
             node(Kind::kCall, node(Kind::kAdd, name("n"), number(-1)), node(Kind::kJoin, name("label"), text("l"))),
             node(Kind::kCall, node(Kind::kAdd, name("n"), number(-2)), node(Kind::kJoin, name("label"), text("r"))));
    stop_ = node(Kind::kLess, name("n"), number(2));
  }

  uint64_t recursion(unsigned n) { return to_digest(call(Value::of(n), Value::of(std::string_view("call-")))); }

  // Counts words of a text that is joined piece by piece, then looks every word up again.
  uint64_t count_words(size_t words) {
    Value counts = Value::new_table();
    Value order = Value::new_table();
    for (size_t i = 0; i < words; ++i) {
      const Value word = make_word();
      const Value* old = counts.table().find(word.string());
      counts.table().set(word, Value::of(old == nullptr ? 1.0 : old->number() + 1));
      order.table().set(Value::join(Value::of(std::string_view("#")), Value::of(static_cast<double>(i)).to_text()),
                        word);
    }
    uint64_t sum = 0;
    double total = 0;
    order.table().for_each([&](const Value& key, const Value& word) {
      const Value* count = counts.table().find(word.string());
      if (count == nullptr) bench::fail("interpreter: a key is lost");
      sum += bench::mix(to_digest(key) ^ to_digest(word)) + static_cast<uint64_t>(count->number());
    });
    counts.table().for_each([&](const Value&, const Value& count) { total += count.number(); });
    if (total != static_cast<double>(words)) bench::fail("interpreter: a count is wrong");
    return sum;
  }

  // Nested tables that refer to shared leaves, replaced at random: objects of mixed age.
  uint64_t objects(size_t steps) {
    Value root = Value::new_table();
    uint64_t sum = 0;
    for (size_t i = 0; i < steps; ++i) {
      const Value key = make_word();
      Value object = Value::new_table();
      object.table().set(Value::of(std::string_view("name")), key);
      object.table().set(Value::of(std::string_view("size")), Value::of(static_cast<double>(i)));
      if (const Value* old = root.table().find(key.string()); old != nullptr) {
        const Value* leaf = old->table().find("name");
        if (leaf == nullptr || leaf->string() != key.string()) bench::fail("interpreter: a field is wrong");
        sum += to_digest(*leaf);
        object.table().set(Value::of(std::string_view("old")), *leaf);
      }
      root.table().set(key, std::move(object));
      if (rng_.below(3) == 0) root.table().erase(make_word().string());
    }
    return sum + root.table().size();
  }

 private:
  static uint64_t to_digest(const Value& value) {
    uint64_t sum = 1469598103934665603u;
    const Value shown = value.to_text();
    for (char c : shown.string()) sum = (sum ^ static_cast<unsigned char>(c)) * 1099511628211u;
    return sum;
  }

  Value make_word() {
    // Squaring favours few words, as in language.
    const double u = rng_.unit();
    Value word = Value::join(Value::of(std::string_view("w")),
                             Value::of(static_cast<double>(static_cast<int>(u * u * 20'000))).to_text());
    return rng_.below(4) == 0 ? Value::join(word, Value::of(std::string_view("-with-a-longer-tail"))) : word;
  }

  Value call(Value n, Value label) {
    Value frame = Value::new_table();
    frame.table().set(Value::of(std::string_view("n")), std::move(n));
    frame.table().set(Value::of(std::string_view("label")), std::move(label));
    return evaluate(stop_, frame).number() != 0 ? evaluate(n_, frame) : evaluate(fib_, frame);
  }

  Value evaluate(const Expression& e, const Value& frame) {
    switch (e.kind) {
      case Kind::kNumber:
        return Value::of(e.number);
      case Kind::kText:
        return Value::of(e.text);
      case Kind::kName:
        return lookup(e.text, frame);
      case Kind::kAdd:
        return Value::of(evaluate(e.parts[0], frame).number() + evaluate(e.parts[1], frame).number());
      case Kind::kLess:
        return Value::of(evaluate(e.parts[0], frame).number() < evaluate(e.parts[1], frame).number() ? 1.0 : 0.0);
      case Kind::kJoin:
        return Value::join(evaluate(e.parts[0], frame), evaluate(e.parts[1], frame));
      case Kind::kCall:
        return call(evaluate(e.parts[0], frame), evaluate(e.parts[1], frame));
    }
    bench::fail("interpreter: an unknown expression");
  }

  static Value lookup(std::string_view key, const Value& table) {
    const Value* found = table.table().find(key);
    if (found == nullptr) bench::fail("interpreter: a name is unknown");
    return *found;
  }

  bench::Rng rng_;
  Expression fib_, stop_, n_ = name("n");
};

}  // namespace

int main(int argc, char** argv) {
  const auto options = bench::parse_options(argc, argv, 1);
  Interpreter interpreter(options.seed);
  uint64_t sum = 0;
  for (size_t i = 0; i < options.scaled(4); ++i) {
    sum += interpreter.recursion(19);
    sum += interpreter.count_words(100'000);
    sum += interpreter.objects(100'000);
  }
  return bench::finish("interpreter", sum);
}
