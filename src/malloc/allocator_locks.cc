// All locks of an allocator at once, for looking at it as a whole and for a fork, and what its child starts with (the
// part of Allocator that does it; malloc/fork.cc says in which order).
//
// Thread safety: any thread. Invariants: locks are taken in the order of LockRank and given up in the reverse one.
#include "malloc/allocator.h"

namespace weir {

void Allocator::pause_reclaim() {
  if (reclaimer_ != nullptr) reclaimer_->before_fork();
}

void Allocator::lock_all() {
  take_locks();
  if (reclaimer_ == nullptr) return;
  reclaimer_->lock_for_fork();
  reclaimer_->freeze_for_fork();
}

void Allocator::unlock_all() {
  if (reclaimer_ != nullptr) reclaimer_->unlock_for_fork();
  give_up_locks();
}

void Allocator::take_locks() {
  take_locks_once();
  // The first heap was made meanwhile, and its locks are not among them.
  while (locked_heaps_ != heaps()) {
    give_up_locks();
    take_locks_once();
  }
}

void Allocator::take_locks_once() {
  threads_mutex_.lock_for_fork();
  locked_heaps_ = heaps();
  if (locked_heaps_ != nullptr) locked_heaps_->lock(locked_heaps_->self);
  for (NodeHeap* heap : nodes_)
    if (heap != nullptr) heap->depots.lock_for_fork();
  // Made with the first of these locks held, so that it stays what it is.
  if (compactor() != nullptr) compactor()->mutex().lock_for_fork();
  for (unsigned n = 0; n < nr_nodes_; ++n)
    if (nodes_[n] != nullptr) zone(n).mutex().lock_for_fork();
}

void Allocator::after_fork_in_child() {
  if (locked_heaps_ != nullptr) locked_heaps_->after_fork_in_child(locked_heaps_->self);
  for (unsigned n = 0; n < nr_nodes_; ++n)
    if (nodes_[n] != nullptr) zone(n).after_fork_in_child();
}

void Allocator::publish_all() {
  for (unsigned n = 0; n < nr_nodes_; ++n) {
    if (nodes_[n] == nullptr) continue;
    zone(n).publish_all();
    nodes_[n]->depots.publish_all();
  }
  if (locked_heaps_ != nullptr) locked_heaps_->publish_all(locked_heaps_->self);
}

bool Allocator::resume_reclaim(bool in_child) {
  if (!in_child) {
    if (reclaimer_ != nullptr) reclaimer_->after_fork_in_parent();
    return true;
  }
  // Before there are threads that put objects away.
  if (compactor() != nullptr) compactor()->reopen_in_child();
  if (reclaimer_ != nullptr && !reclaimer_->after_fork_in_child()) return false;
  // Moves that were under way; before anybody waits for their ends.
  if (compactor() != nullptr) compactor()->resume_in_child();
  return true;
}

void Allocator::give_up_locks() {
  for (unsigned n = 0; n < nr_nodes_; ++n)
    if (nodes_[n] != nullptr) zone(n).mutex().unlock_for_fork();
  if (compactor() != nullptr) compactor()->mutex().unlock_for_fork();
  for (NodeHeap* heap : nodes_)
    if (heap != nullptr) heap->depots.unlock_for_fork();
  if (locked_heaps_ != nullptr) locked_heaps_->unlock(locked_heaps_->self);
  threads_mutex_.unlock_for_fork();
}

}  // namespace weir
