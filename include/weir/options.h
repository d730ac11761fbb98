/* weir/options.h: the options of WEIR_CONF, for programs that set it for others: launchers, service managers, tests.
 *
 * Thread safety: every function may be called from any thread. Invariants: nothing here changes the options of the
 * calling process; text that does not fit its buffer is cut, and always ends with a NUL.
 */
#ifndef WEIR_OPTIONS_H_
#define WEIR_OPTIONS_H_

#include <stddef.h>
#include <stdint.h>

#include "weir/weir.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Long enough for every text that the functions below write. */
#define WEIR_OPTION_TEXT 512

/* Checks that the option `name` takes `value` (without quotes). Returns 1; otherwise 0, and `report` says what would be
 * right: "expected 0 or 1 (off or on)", or "unknown key 'gaurd' (did you mean 'guard'?)". */
WEIR_API int weir_option_check(const char* name, const char* value, char* report, size_t capacity);

/* Checks a whole list, as WEIR_CONF has it. Returns the number of mistakes; when that is not 0, `report` is one line
 * about the first, without a newline, and names `source`: "weir: <source>: guard=2: expected 0 or 1 (off or on)". */
WEIR_API unsigned weir_options_check(const char* conf, const char* source, char* report, size_t capacity);

/* Writes the value that `name` has after `conf` in the form that WEIR_CONF accepts ("64K", "none"). Returns 1; 0 when
 * there is no such option. Mistakes in `conf` are passed over. */
WEIR_API int weir_option_value(const char* conf, const char* name, char* value, size_t capacity);

/* Writes one line about the option at `index` (name and default, what it does, accepted form), without a newline.
 * Returns 1; 0 when there are no more than `index` options. */
WEIR_API int weir_option_help(size_t index, char* line, size_t capacity);

/* What the table of options says of one of them. */
typedef struct weir_option_info {
  char name[64];
  char default_value[64];          /* in the form that WEIR_CONF accepts */
  char help[WEIR_OPTION_TEXT];     /* what it does */
  char accepted[WEIR_OPTION_TEXT]; /* "a whole number 0..200", "0 or 1 (off or on)" */
  char words[WEIR_OPTION_TEXT];    /* values that can be counted up, with a blank between two: "lz4 zstd"; or "" */
  int is_path;                     /* 1: the value names a file or directory */
  int changeable;                  /* 1: can be changed while the program runs (weir_sysctl) */
  char sysctl[64];                 /* then: its other name there, the kernel's if it has one; else "" */
} weir_option_info;

/* Fills `*info`, of which the caller knows `size` bytes, with what is known of the option at `index`. Returns 1; 0 when
 * there are no more than `index` options. */
WEIR_API int weir_option_describe(size_t index, weir_option_info* info, size_t size);

/* Writes a value as a page of statistics has it (`options` there) in the form that WEIR_CONF accepts; a text, of which
 * the page has the length, as "none" or "(text)". Returns 1; 0 when there is no such option. */
WEIR_API int weir_option_format(const char* name, int64_t number, char* value, size_t capacity);

/* A number that tells tables of options apart: the same where all names are the same in the same order. */
WEIR_API uint64_t weir_options_id(void);

/* Tries the swap file that `conf` names just as a program that starts with it would: opens it, writes and reads a page,
 * and closes it. Returns 1 when that works or there is none; otherwise 0, and `report` says why: "permission denied".
 * What a file or device of that name holds is kept unless it is free for swapping. */
WEIR_API int weir_swap_check(const char* conf, char* report, size_t capacity);

#ifdef __cplusplus
}
#endif
#endif /* WEIR_OPTIONS_H_ */
