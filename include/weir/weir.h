/* weir.h: the C interface of libweir and of the drop-in libweir-malloc.
 *
 * Thread safety: every function may be called from any thread at any time, except in signal handlers.
 * Memory obtained here is released with weir_free (in a program preloaded with libweir-malloc, free does the same).
 */
#ifndef WEIR_WEIR_H_
#define WEIR_WEIR_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEIR_API __attribute__((visibility("default")))

/* Allocates `size` bytes (0 is allowed and gives a distinct pointer), aligned to 16.
 * Returns NULL with errno ENOMEM when there is no memory or `size` exceeds PTRDIFF_MAX. */
WEIR_API void* weir_malloc(size_t size) __attribute__((malloc, alloc_size(1)));

/* Allocates `count * size` zeroed bytes; overflow of the product is ENOMEM. */
WEIR_API void* weir_calloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2)));

/* Resizes the object at `ptr` (NULL: allocates) to `size` bytes, keeping the smaller of both sizes' content.
 * `size` 0 with a non-null `ptr` frees it and returns NULL. On failure the old object stays as it was. */
WEIR_API void* weir_realloc(void* ptr, size_t size) __attribute__((alloc_size(2)));

/* Allocates `size` bytes aligned to `alignment`, a power of two; anything else is EINVAL (errno) and NULL. */
WEIR_API void* weir_aligned_alloc(size_t alignment, size_t size) __attribute__((malloc, alloc_size(2)));

/* Frees an object; NULL is ignored, errno is kept. A pointer that weir never gave out, a second free, or a pointer
 * into the middle of an object is reported on stderr in one line and the process aborts. */
WEIR_API void weir_free(void* ptr);

/* Returns the bytes that may be used at `ptr` (at least what was asked for, constant over the object's life), 0 for
 * NULL. */
WEIR_API size_t weir_usable_size(const void* ptr);

/* Gives every free page back to the system at once. Returns the number of bytes given back. */
WEIR_API size_t weir_trim(void);

/* Writes what weir knows of its memory to file descriptor `fd`, for people to read: what is given out, free and needed
 * for bookkeeping, what a limit is spent on, nodes with their watermarks and free blocks, size classes, heaps, and the
 * counters that are not 0, each with what it counts. The option stats_at_exit=1 has it written to stderr. The layout
 * may change: programs read the statistics page. */
WEIR_API void weir_stats_print(int fd);

/* The statistics page of this process (weir/stats_page.h), brought up to date: what other processes see of it. It stays
 * where it is and goes on changing for as long as the process lives; a forked child has its own in the same place.
 * NULL when there is none (stats_page=0). */
struct weir_stats_page;
WEIR_API const struct weir_stats_page* weir_stats(void);

/* Tells the setting `name`, and changes it when `new_value` is not NULL. `name` is a key of WEIR_CONF ("limit"), or
 * what the kernel calls it ("vm.page-cluster"); weir_option_describe (weir/options.h) lists both, and which settings
 * can be changed while the program runs. A change is effective when the call returns: watermarks are computed again,
 * and weir's threads begin at once to bring the heap down to a lower limit, which takes as long as compressing or
 * writing its pages does.
 *
 * `old_value` gets the value before the call, as WEIR_CONF has it ("512M"), cut to `old_size` bytes with its NUL.
 * `new_value` is the value to be set, as WEIR_CONF has it. `report` gets the reason of a refusal in one line without a
 * newline, cut to `report_size`, or "" when there is none. NULL for the first and the last: not wanted.
 * WEIR_OPTION_TEXT bytes hold every text.
 *
 * Returns 0, or (errno is kept, and nothing was changed)
 *   ENOENT      there is no setting of that name
 *   EINVAL      the value is not of the accepted form or range, which the report names
 *   EPERM       the setting is fixed once the program has started
 *   ENXIO       the setting has no effect in this process: it was started without a limit, or cannot swap
 *   ENOMEM      weir could not start
 * Of several threads that change settings one goes after the other. A forked child has all of a change or nothing of
 * it, and its settings are its own from then on. */
WEIR_API int weir_sysctl(const char* name, char* old_value, size_t old_size, const char* new_value, char* report,
                         size_t report_size);

/* Recounts every page, free list and slab against the running counters. Returns 1 when all agree; otherwise writes one
 * line to stderr that names the first difference and returns 0. Stops allocation while it counts. */
WEIR_API int weir_debug_verify(void);

/* The version as "major.minor.patch". */
WEIR_API const char* weir_version(void);

#ifdef __cplusplus
}
#endif

/* Heaps with limits of their own. */
#include "weir/heap.h"

#endif /* WEIR_WEIR_H_ */
