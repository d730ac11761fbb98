/* weak_movable.h: objects with handles for programs under a limit: the functions come from the library that is
 * preloaded, and are null without it.
 *
 * Thread safety: as weir/movable.h.
 */
#ifndef WEIR_TESTS_LIMIT_WEAK_MOVABLE_H_
#define WEIR_TESTS_LIMIT_WEAK_MOVABLE_H_

#include "weir/movable.h"

#pragma weak weir_movable_alloc
#pragma weak weir_movable_free
#pragma weak weir_movable_pin
#pragma weak weir_movable_unpin
#pragma weak weir_movable_compact
#pragma weak weir_debug_verify

#endif /* WEIR_TESTS_LIMIT_WEAK_MOVABLE_H_ */
