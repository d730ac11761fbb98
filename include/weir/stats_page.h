/* weir/stats_page.h: the page of statistics that every process on weir exports, for programs that watch others.
 *
 * Where it is: with a limit, a memfd that /proc/PID/maps shows as "/memfd:weir-stats (deleted)" and that weir's own
 * threads keep a descriptor of (/proc/PID/task/TID/fd). Otherwise, because a memfd would make starting a program some
 * 25 us slower, and where there can be no memfd (a system-call filter, no descriptors left, a limit on file sizes), it
 * is plain memory: a struct weir_stats_beacon in a writable mapping of the library, or of the program that was linked
 * with it, says where. Read it through /proc/PID/mem, process_vm_readv or the descriptor. The process takes no notice,
 * and nothing is left behind when it ends. `weir ps`, `weir vmstat` and the others do this. With the option
 * stats_page=0 there is none.
 *
 * Thread safety: the process writes while others read. Every field is stored in one piece, so a number is never torn.
 * What stands between `sequence` and `node_counter_names` is from one moment when `sequence` was even and the same
 * before and after it was copied; while it is odd, the process is writing. Numbers of a node and of a slab class are
 * each right, but not all from the same moment; what can be derived (free pages = managed - used) is not stored, so
 * that it cannot disagree.
 *
 * Who keeps it up to date:
 *   nodes           every operation on pages of the node, at once; `standby` to `swapped`, and with a limit `managed`
 *                   and `resident` too, by kswapd: at least every 50 ms
 *   heaps           every operation on pages of the heap; `swapped` by reclaim, at once
 *   slabs           every exchange of objects between threads' caches and the slabs of the class
 *   `limit` and on  kswapd, at least every 50 ms; without a limit nothing of this ever changes
 *   options         whoever changes one
 * Objects in the caches of threads count as in use.
 *
 * Invariants: weir never reads what it publishes here, so that nobody can do harm by writing to it; what it reads is
 * `request` and the box of weir/control_box.h, as carefully as all input. A program may rely on a field when
 * `node_offset`, which lies behind all of the page's own, and `size` say that it is there; fields are only ever added
 * at ends, and `version` changes when one changes its meaning.
 */
#ifndef WEIR_STATS_PAGE_H_
#define WEIR_STATS_PAGE_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEIR_STATS_NAME "weir-stats"
#define WEIR_STATS_MAGIC 0x7461747372696577u /* "weirstat" in memory */
#define WEIR_STATS_VERSION 5u
#define WEIR_STATS_BEACON "weir-stats-page" /* with the NUL at its end, 16 bytes */

enum {
  WEIR_STATS_ORDERS = 11,        /* blocks of 2^0 to 2^10 pages */
  WEIR_STATS_TYPES = 3,          /* unmovable, movable, reclaimable */
  WEIR_STATS_NODE_COUNTERS = 24, /* room; as many as there are names */
  WEIR_STATS_COUNTERS = 56,
  WEIR_STATS_OPTIONS = 64,
  WEIR_STATS_PATH = 512,
  WEIR_STATS_HEAPS = 64, /* rows of the table of heaps */
  WEIR_STATS_HEAP_NAME = 64,
  WEIR_STATS_TEXTS = 1600,
};

enum weir_stats_mode {
  WEIR_STATS_UNLIMITED = 0, /* no limit */
  WEIR_STATS_PURGE = 1,     /* a limit, but pages cannot be swapped: unused memory is given back */
  WEIR_STATS_SWAP = 2,      /* a limit, kept by swapping */
  WEIR_STATS_PAGEOUT = 3,   /* a limit, kept by having the system swap (its own swap space, MADV_PAGEOUT) */
};

/* One size class on one node; all zero until it has had a slab. */
struct weir_stats_slab {
  uint32_t object_size;
  uint32_t objects_per_slab;
  uint32_t pages_per_slab;
  uint32_t reserved;
  uint64_t slabs;
  uint64_t free_objects; /* in slabs and on the way between threads; the others are in use */
  uint64_t unused[4];    /* a class has a cache line of its own */
};

/* One node. Numbers are pages unless they say otherwise. */
struct weir_stats_node {
  uint32_t present_node;  /* 0: the node has no memory, and nothing below means anything */
  int32_t os_node;        /* the kernel's number; -1: memory is not bound to a node */
  uint64_t spanned;       /* address space */
  uint64_t present;       /* of it, what can be given out */
  uint64_t managed;       /* the node's share of the limit, or of the machine's memory */
  uint64_t charged;       /* given out */
  uint64_t free_resident; /* free pages with memory behind them */
  uint64_t resident;      /* with a limit: all memory of the node, exactly; without: 0 */
  uint64_t watermark_min;
  uint64_t watermark_low;
  uint64_t watermark_high;
  uint64_t metadata_bytes;
  uint64_t standby;    /* unmapped, but still in memory */
  uint64_t zswap_pool; /* memory that compressed pages take */
  uint64_t swapped;    /* pages in compressed memory and in the swap file */
  uint64_t pageblocks[WEIR_STATS_TYPES];
  uint64_t free_blocks[WEIR_STATS_TYPES][WEIR_STATS_ORDERS];
  uint64_t counters[WEIR_STATS_NODE_COUNTERS]; /* in the order of node_counter_names */
  /* addresses in the memory of the process, of what it knows of the first `present` pages of the node; 0: nothing */
  uint64_t residency;       /* a bit for each page, in words of 64: whether there is memory behind it */
  uint64_t pageblock_types; /* a byte for each 512 pages: enum weir_stats_type */
  uint64_t clusters;        /* with a limit: struct weir_stats_cluster for each 64 pages */
};

/* The types of pageblocks. */
enum weir_stats_type {
  WEIR_STATS_UNMOVABLE = 0, /* slabs */
  WEIR_STATS_MOVABLE = 1,   /* large objects */
  WEIR_STATS_RECLAIMABLE = 2,
};

/* The state of 64 pages, a bit for each. A page that is none of standby and swapped, allocated, and has memory behind
 * it, is at its place. */
struct weir_stats_cluster {
  uint64_t allocated;
  uint64_t busy;
  uint64_t standby;
  uint64_t swapped;
  uint64_t reserved[4];
};

/* A registered heap (weir/heap.h). Numbers are pages unless they say otherwise. */
struct weir_stats_heap {
  uint64_t id; /* its handle; 0: the row is free */
  char name[WEIR_STATS_HEAP_NAME];
  uint64_t charged; /* given out to it */
  uint64_t swapped; /* of these, in compressed memory or a swap file; the limit is on the others */
  uint64_t peak;    /* most that were charged */
  uint64_t limit;   /* 0: none */
  uint64_t soft_limit;
  uint64_t cap; /* it gets no more until it has given back an eighth of so many; 0: none */
  uint64_t limit_hits;
  uint64_t limit_failures;
  int32_t oom_score_adj;
  uint32_t oom_policy; /* enum weir_heap_oom */
  uint32_t noswap;
  uint32_t node;
  uint64_t reserved[4];
  uint64_t id_again; /* the same as `id`, unless the row was given to another heap while it was copied, front to back */
};

struct weir_stats_page {
  uint64_t magic;
  uint32_t version;
  uint32_t page_size;
  uint64_t size;     /* bytes of everything */
  uint64_t start_ns; /* CLOCK_MONOTONIC when the program was started; a forked child has its parent's */
  uint32_t pid;      /* as the process itself sees it */
  uint32_t nr_nodes;
  uint32_t node_offset; /* from the start of the page to struct weir_stats_node[nr_nodes] */
  uint32_t node_size;   /* from one of them to the next */
  uint32_t slab_offset; /* to struct weir_stats_slab[nr_nodes][nr_lanes][nr_classes] */
  uint32_t slab_size;
  uint32_t nr_classes;
  uint32_t nr_node_counters;
  uint32_t nr_counters;
  uint32_t nr_lanes; /* a class's slabs are spread over so many parts, of which threads use different ones */
  uint32_t reserved;
  uint32_t swap_path_offset; /* to char[WEIR_STATS_PATH]: as it was asked for; "" when nothing is written to a file */

  uint64_t sequence;
  uint64_t limit; /* pages; 0: none */
  uint64_t mode;  /* enum weir_stats_mode */
  uint64_t resident_peak;
  uint64_t swap_total; /* pages that the swap file may hold; 0: there is none */
  uint64_t swap_used;
  uint64_t zswap_stored;                  /* pages in compressed memory */
  uint64_t zswap_bytes;                   /* what they take, without what the pool adds */
  uint64_t counters[WEIR_STATS_COUNTERS]; /* in the order of counter_names */

  char node_counter_names[512]; /* the names of /proc/vmstat, each followed by a NUL */
  char counter_names[1024];

  /* from here on since 0.1: what weir/control_box.h is about */
  uint64_t request;         /* by who asks: the ticket of a request; 0: none */
  uint32_t control_offset;  /* from the start of the page, maybe behind `size`, to struct weir_control_box; 0: none */
  uint32_t control_version; /* WEIR_CONTROL_VERSION */
  uint64_t options_id;      /* weir_options_id() of the process's library */
  uint64_t nr_options;
  int64_t options[WEIR_STATS_OPTIONS]; /* for weir_option_format, in the order of weir_option_describe */

  /* from version 3 on: heaps, of which the first so many places have a row */
  uint32_t heap_offset; /* from the start of the page to struct weir_stats_heap[nr_heap_rows] */
  uint32_t heap_size;
  uint32_t nr_heap_rows;
  uint32_t text_offset; /* to char[WEIR_STATS_TEXTS]: name and value of each option that is a text and not empty, each
                           followed by a NUL; 0: they are not shown */
  uint64_t nr_heaps;    /* all that there are: when more than rows are taken, some are not shown */

  /* from version 4 on, with a limit of the whole process: pages of mapped files that can be dropped */
  uint64_t files;         /* in memory */
  uint64_t files_active;  /* of these, pages that came back soon after they had been dropped */
  uint64_t files_allowed; /* what is above that is dropped */

  /* from version 5 on: pages of files that are mapped for writing, in memory or not, as of the last look (every
     dirty_writeback_centisecs); 0 before Linux 6.5 */
  uint64_t files_dirty;
  uint64_t files_writeback; /* being written */
};

/* Aligned to 64 bytes. */
struct weir_stats_beacon {
  char mark[16];    /* WEIR_STATS_BEACON */
  uint64_t address; /* of the page; 0: not started, or none */
  uint64_t reserved[5];
};

static inline const struct weir_stats_node* weir_stats_node_at(const struct weir_stats_page* page, uint32_t node) {
  return (const struct weir_stats_node*)((const char*)page + page->node_offset + (uint64_t)node * page->node_size);
}

static inline const struct weir_stats_slab* weir_stats_slab_at(const struct weir_stats_page* page, uint32_t node,
                                                               uint32_t lane, uint32_t size_class) {
  const uint64_t index = ((uint64_t)node * page->nr_lanes + lane) * page->nr_classes + size_class;
  return (const struct weir_stats_slab*)((const char*)page + page->slab_offset + index * page->slab_size);
}

static inline const struct weir_stats_heap* weir_stats_heap_at(const struct weir_stats_page* page, uint32_t row) {
  return (const struct weir_stats_heap*)((const char*)page + page->heap_offset + (uint64_t)row * page->heap_size);
}

#ifdef __cplusplus
}
#endif
#endif /* WEIR_STATS_PAGE_H_ */
