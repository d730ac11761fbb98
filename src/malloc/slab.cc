#include "malloc/slab.h"

#include <bit>

#include "base/bitmap.h"

namespace weir {
namespace {

size_t index_of(const SizeClass& c, size_t offset) {
  return (offset * c.reciprocal) >> 32;
}

}  // namespace

void SlabView::init(size_t size_class, uint8_t lane) {
  desc = {};
  desc.next = desc.prev = kNoUnit;
  desc.nr_free = kSizeClasses[size_class].objects;
  desc.lane = lane;
  desc.size_class = static_cast<uint8_t>(size_class);
  const size_t objects = desc.nr_free;
  for (size_t w = 0; w * bitmap::kWordBits < objects; ++w) bits[w] = bitmap::low_mask(objects - w * bitmap::kWordBits);
}

size_t SlabView::first_word(bool apart) const {
  const size_t whole_words = size_class().objects / bitmap::kWordBits;
  for (size_t w = desc.hint; apart && w < whole_words; ++w)
    if (bits[w] == ~uint64_t{0}) return w;
  return desc.hint;
}

unsigned SlabView::take(void** end, unsigned want, bool apart) {
  const SizeClass& c = size_class();
  if (want > desc.nr_free) want = desc.nr_free;
  unsigned left = want;
  size_t w = first_word(apart && want <= bitmap::kWordBits);
  const bool from_hint = w == desc.hint;
  size_t first = SIZE_MAX, last = 0;
  while (left != 0) {
    uint64_t word = bits[w];
    if (word == 0) {
      ++w;
      continue;
    }
    if (first == SIZE_MAX) first = w * bitmap::kWordBits + static_cast<size_t>(std::countr_zero(word));
    do {
      last = w * bitmap::kWordBits + static_cast<size_t>(std::countr_zero(word));
      *--end = memory + last * c.size;
      word &= word - 1;
    } while (--left != 0 && word != 0);
    bits[w] = word;
  }
  desc.nr_free = static_cast<uint16_t>(desc.nr_free - want);
  if (from_hint) desc.hint = static_cast<uint8_t>(w);
  if (want != 0) {
    const size_t first_page = first * c.size >> kPageShift;
    const size_t last_page = ((last + 1) * c.size - 1) >> kPageShift;
    bitmap::set_range(&desc.touched, first_page, last_page - first_page + 1);
  }
  return want;
}

FreeVerdict SlabView::check(const void* object) const {
  const SizeClass& c = size_class();
  const size_t offset = static_cast<size_t>(static_cast<const char*>(object) - memory);
  const size_t index = index_of(c, offset);
  if (index >= c.objects || index * c.size != offset) return FreeVerdict::kInsideObject;
  return bitmap::test(bits, index) ? FreeVerdict::kDoubleFree : FreeVerdict::kOk;
}

FreeVerdict SlabView::give(void* object) {
  FreeVerdict verdict = FreeVerdict::kOk;
  static_cast<void>(give_many(&object, 1, verdict));
  return verdict;
}

unsigned SlabView::give_many(void* const* objects, unsigned count, FreeVerdict& verdict) {
  const SizeClass& c = size_class();
  // Kept out of memory: what was just written to the descriptor would be waited for at the next object.
  size_t hint = desc.hint;
  unsigned n = 0;
  for (; n < count; ++n) {
    const size_t offset = static_cast<size_t>(static_cast<char*>(objects[n]) - memory);
    if (offset > c.slab_mask) break;
    const size_t index = index_of(c, offset), word = index / bitmap::kWordBits;
    const uint64_t bit = uint64_t{1} << (index % bitmap::kWordBits);
    if (index >= c.objects || index * c.size != offset) {
      verdict = FreeVerdict::kInsideObject;
      break;
    }
    if ((bits[word] & bit) != 0) {
      verdict = FreeVerdict::kDoubleFree;
      break;
    }
    bits[word] |= bit;
    if (word < hint) hint = word;
  }
  desc.nr_free = static_cast<uint16_t>(desc.nr_free + n);
  desc.hint = static_cast<uint8_t>(hint);
  return n;
}

uint64_t SlabView::idle_pages() const {
  const SizeClass& c = size_class();
  uint64_t idle = 0;
  for (uint64_t left = desc.touched; left != 0; left &= left - 1) {
    const size_t page = static_cast<size_t>(std::countr_zero(left));
    const size_t first = (page << kPageShift) / c.size;
    size_t last = (((page + 1) << kPageShift) - 1) / c.size;
    if (last >= c.objects) last = c.objects - 1u;
    if (first >= c.objects) {
      bitmap::set(&idle, page);  // behind the last object
      continue;
    }
    if (bitmap::find_next(bits, first, last + 1, false) == last + 1) bitmap::set(&idle, page);
  }
  return idle;
}

unsigned SlabView::count_free() const {
  return static_cast<unsigned>(bitmap::count_range(bits, 0, size_class().objects));
}

}  // namespace weir
