/* weir/topology.h: the machine as weir sees it: NUMA nodes, their memory and processors, and how far they are apart.
 *
 * Read with hwloc, so the environment can describe another machine than this one: HWLOC_SYNTHETIC ("numa:4 core:2
 * pu:1"), HWLOC_XMLFILE (a file written by `lstopo`), HWLOC_FSROOT. Part of libweir, not of the preloaded
 * libweir-malloc.
 *
 * Nodes are numbered 0, 1, 2, ... without gaps; the kernel's own number of a node is its os_index.
 *
 * Thread safety: every function may be called from any thread; a loaded topology never changes, so it may be shared.
 */
#ifndef WEIR_TOPOLOGY_H_
#define WEIR_TOPOLOGY_H_

#include <stddef.h>
#include <stdint.h>

#include "weir/weir.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_topology weir_topology;

typedef struct weir_topology_node {
  uint64_t memory_bytes; /* 0: a node with processors only */
  unsigned os_index;     /* the kernel's number of the node */
  unsigned nr_cpus;      /* 0: a node with memory only */
  int allowed;           /* 0: this process's cpuset forbids the node's memory */
} weir_topology_node;

/* Reads the topology; takes milliseconds. Returns NULL with errno EINVAL when the environment describes a machine that
 * cannot be understood, and with ENOMEM otherwise. The calling thread's binding does not change. */
WEIR_API weir_topology* weir_topology_load(void);

/* Releases a topology; NULL is ignored. */
WEIR_API void weir_topology_free(weir_topology* topology);

/* The number of nodes, at least 1. */
WEIR_API unsigned weir_topology_nr_nodes(const weir_topology* topology);

/* Fills `*info` with what is known of a node. Returns 0, or -1 with errno EINVAL when there is no such node. */
WEIR_API int weir_topology_node_info(const weir_topology* topology, unsigned node, weir_topology_node* info);

/* The node of a processor (the kernel's number of it), or -1 with errno EINVAL when that is not known. */
WEIR_API int weir_topology_cpu_to_node(const weir_topology* topology, unsigned cpu);

/* The distance between two nodes as the firmware gives it: 10 is a node's own, 20 is twice as slow. 0 with errno EINVAL
 * when there is no such node. */
WEIR_API unsigned weir_topology_distance(const weir_topology* topology, unsigned from, unsigned to);

/* Writes the nodes whose memory a thread on `node` should use, nearest first, to `nodes`, at most `capacity` of them.
 * Nodes without memory and forbidden ones are not among them. Returns how many there are, however many were written; 0
 * with errno EINVAL when there is no such node. `nodes` may be NULL when `capacity` is 0. */
WEIR_API size_t weir_topology_zonelist(const weir_topology* topology, unsigned node, unsigned* nodes, size_t capacity);

/* Writes the topology to file descriptor `fd` for people to read: one line per node, then the distances and
 * zonelists. */
WEIR_API void weir_topology_print(const weir_topology* topology, int fd);

#ifdef __cplusplus
}
#endif
#endif /* WEIR_TOPOLOGY_H_ */
