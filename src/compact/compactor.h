// Purpose: brings free pages together by moving objects that programs have handles of: on demand, for an allocation
//          that found enough free pages but not side by side, and ahead of need (kcompactd).
// Thread safety: any thread, with no lock held, but for what says otherwise; one compaction at a time on a node. All
//                zones are added before any other call.
// Invariants: a move has a record (Flight) from before its object is closed until after its old pages are free, written
//             with the lock held that a fork takes, so that a child finds every object where its handle says and loses
//             no pages. Content is copied with no lock held.
// Source: Linux mm/compaction.c. There pages move from the bottom to the top of a zone. Here they move down, because
//         free pages at the top of an arena join those that it grows by, and its end costs descriptors. And here what
//         moves are objects of all lengths, which need pages side by side themselves: where no gap is long enough for
//         them, they slide down into shorter ones (Jones, Hosking, Moss: The Garbage Collection Handbook, 3.2).
#pragma once

#include <atomic>

#include "base/lock.h"
#include "base/units.h"
#include "compact/fragmentation.h"
#include "compact/movable.h"
#include "config/options.h"
#include "page/zone.h"
#include "reclaim/reclaimer.h"
#include "swap/compressor.h"

namespace weir {

class Compactor {
 public:
  // `reclaimer`: null without a limit.
  Compactor(const Options& options, Reclaimer* reclaimer)
      : options_(options), reclaimer_(reclaimer), mutex_(LockRank::kCompact) {}
  void add_zone(Zone& zone) { nodes_[zone.node().v].zone = &zone; }
  // Then objects may leave memory (put_away.cc).
  void connect();

  // -- objects
  // Makes a run movable and gives it a handle; none when there is no memory for that.
  [[nodiscard]] MovableId adopt(Zone& zone, Pfn head, size_t bytes);
  // After take_away: frees the run that was the object.
  void release(MovableId id, Zone& zone, Pfn head);
  MovableTable& table() { return table_; }
  const MovableTable& table() const { return table_; }

  // -- compaction
  // For an allocation of `count` pages on this node, which has failed: true when it is worth another attempt (Linux
  // try_to_compact_pages, and what __alloc_pages_direct_compact counts).
  [[nodiscard]] bool try_to_compact(Zone& zone, Pages count);
  // As far as possible, everywhere (/proc/sys/vm/compact_memory); returns how many pages were moved.
  Pages compact_all();
  // A round of kcompactd, by one thread: nodes whose free memory is in too many pieces (Linux kcompactd,
  // proactive_compact_node).
  void compact_ahead();

  // Null when every handle agrees with its zone, else what does not; with all locks held.
  const char* verify_locked() WEIR_NO_TSA;

  // -- fork
  // With all locks held: who moved objects in the parent is not in the child. Afterwards, with none: says of what was
  // being put away, or brought back, where it is, before there are threads again; and ends moves that were under way.
  Mutex& mutex() WEIR_TSA(lock_returned(mutex_)) { return mutex_; }
  void reopen_in_child();
  void resume_in_child();

 private:
  class Bounce;
  // A move under way.
  struct Flight {
    enum class State : uint8_t {
      kNone,
      kCopying,  // the object is where it was; its new pages are nobody's
      kSliding,  // its content is in `bounce`, whole; its new pages are nobody's and some of its old ones
      kLanded,   // the pages at `from` are nobody's
    };
    State state = State::kNone;
    uint32_t id = kNobodysRun;
    Pfn from = kNoPfn, to = kNoPfn;
    Pages count{};             // of one that slides
    Bounce* bounce = nullptr;  //
    bool in_child = false;     // of a fork in the middle
  };
  // For how many more times an allocation is left alone that compaction could not help (Linux defer_compaction).
  struct Deferral {
    Pages least{~uint64_t{0}};  // from so many pages on
    Pages free{};               // that there were when it last could not
    unsigned considered = 0, shift = 0;
  };
  struct Node {
    Zone* zone = nullptr;
    std::atomic<uint32_t> busy{0};  // the thread that compacts; who waits for its end sleeps on it
    // Of kcompactd alone: rounds that are left out after one in vain, and what was free then.
    unsigned rounds_to_skip = 0;
    Pages free_in_vain{};
    unsigned score_in_vain = 0;
    // Of its kswapd alone.
    uint32_t hand = 0;  // of the clock: a place in the table
    bool may_put_away = false;
    Compressor stores;
    Mutex fetching{LockRank::kCompact};
    Compressor fetches;  // guarded by fetching
    Flight flight;       // guarded by mutex_
    Deferral deferral;   // guarded by mutex_
  };
  // When a compaction has done enough; none of the two: when everything has been looked at.
  struct Goal {
    Pages together{};         // so many free pages lie side by side
    unsigned score = 0;       // the fragmentation score is no higher than this
    bool leaves_away = true;  // objects that are partly swapped out stay where they are; else room is waited for, too
    bool daemon = false;      // on behalf of nobody
    bool is_reached(Zone& zone) const;
  };
  class Scanners;
  static bool holds(const Zone& zone, const char* address);
  Node* node_of(const char* address);
  bool may_put_away(Node& node);
  Pages put_away(NodeReclaim& reclaim, Pages wanted);
  Pages put_object_away(Node& node, NodeReclaim& reclaim, uint32_t index, char* address);
  void bring_back(char* address, size_t bytes);
  static bool is_left_out(Node& node, Pages free, unsigned score);

  struct Outcome {
    bool done = false;     // false: somebody else is at it
    bool reached = false;  // the goal was, whatever has become of it since
    Pages moved{};
  };
  Outcome compact(Node& node, const Goal& goal);
  Outcome compact_in_turn(Node& node, const Goal& goal);
  bool sink(Node& node, const Goal& goal, CompactCounts& counts);
  bool slide(Node& node, const Goal& goal, CompactCounts& counts);
  void move_down(Node& node, Scanners& scanners, const MovableRun& run, CompactCounts& counts);
  [[nodiscard]] bool may_move(Zone& zone, Pages count, const Goal& goal) const;
  enum class Start : uint8_t {
    kStarted,
    kInUse,  // the object is, or there is no memory for it
    kTaken,  // the new pages are
  };
  // Closes the object and takes `room` pages at `to`.
  [[nodiscard]] Start start_move(Node& node, const MovableRun& run, Pfn to, Pages room);
  // To pages that are apart from the old ones, and that are not; kStarted: done.
  Start move_to(Node& node, const MovableRun& run, Pfn to, CompactCounts& counts);
  Start slide_to(Node& node, const MovableRun& run, Pfn to, CompactCounts& counts);
  void end_slide(Node& node, const Flight& flight);
  [[nodiscard]] bool make_ready(Zone& zone, Pfn to, Pages count);
  void land(Node& node, const MovableRun& run, Pfn to);
  void call_off(Node& node, const MovableRun& run, Pfn to);
  void free_nobodys(Node& node, Pfn head);
  bool is_deferred(Node& node, Pages count, Pages free);
  void note_result(Node& node, Pages count, Pages free, bool success);
  bool is_watched(Pages count) const;

  const Options& options_;
  Reclaimer* const reclaimer_;
  Mutex mutex_;
  MovableTable table_;
  ObjectStory story_;
  Node nodes_[kMaxNodes];
};

}  // namespace weir
