/* mmap.c: memory that the program maps by itself is within the limit, too, and comes back as it was; what it does to it
 * by system calls has the results that it has without weir, on memory that is away as well: unmapping parts, other
 * mappings in its place, moving, protecting, giving content up, forks. */
// limit: cases=swapped,parts,fixed,reserve,place,far,wish,remap,protect,advise,fork,threads,stack,ring,reused,handler
// limit: cases=code,small timeout=60
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "limit.h"

enum { kReadWrite = PROT_READ | PROT_WRITE, kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS };

static struct Dataset data;

static char* map(size_t bytes, int protection) {
  char* p = mmap(NULL, bytes, protection, kAnonymous, -1, 0);
  CHECK(p != MAP_FAILED);
  return p;
}

static uint64_t number(const char* seed, size_t page) {
  return ((uint64_t)(uintptr_t)seed ^ page) * 0x9e3779b97f4a7c15u | 1;
}

/* Half of the pages compress, half do not. */
static void fill_pages(char* p, size_t bytes, const char* seed) {
  for (size_t page = 0; page < bytes / PAGE; ++page) {
    uint64_t x = number(seed, page);
    uint64_t* words = (uint64_t*)(p + page * PAGE);
    for (size_t i = 0; i < kWordsPerPage; ++i) words[i] = page % 2 == 0 ? x : (x = x * 0xd6e8feb86659fd93u + i) | 1;
  }
}

static void check_pages(const char* p, size_t bytes, const char* seed, size_t first) {
  for (size_t page = 0; page < bytes / PAGE; ++page) {
    uint64_t x = number(seed, page + first);
    const volatile uint64_t* words = (const volatile uint64_t*)(p + page * PAGE);
    for (size_t i = 0; i < kWordsPerPage; ++i)
      CHECK(words[i] == ((page + first) % 2 == 0 ? x : ((x = x * 0xd6e8feb86659fd93u + i) | 1)));
  }
}

static void check_zero(const char* p, size_t bytes) {
  for (size_t i = 0; i < bytes / 8; ++i) CHECK(((const volatile uint64_t*)p)[i] == 0);
}

/* Everything else is pushed out. */
static void push_out(void) {
  if (data.count != 0) return check_data(&data);
  make_data(&data, memory_limit() != 0 ? memory_limit() * 3 / 2 : 36 * MIB);
}

static void swapped(void) {
  char* p[20];
  for (int i = 0; i < 20; ++i) {
    size_t bytes = (i % 4 == 0 ? 6 : 2) * MIB;
    p[i] = map(bytes, kReadWrite);
    check_zero(p[i], bytes);
    fill_pages(p[i], bytes, p[i]);
    expect_within_limit(0);
  }
  size_t away = 0;
  for (int i = 0; i < 20; ++i) away += bytes_away(p[i], 2 * MIB);
  CHECK(memory_limit() == 0 || away > 10 * MIB);
  for (int round = 0; round < 2; ++round)
    for (int i = 0; i < 20; ++i) check_pages(p[i], (i % 4 == 0 ? 6 : 2) * MIB, p[i], 0);
  for (int i = 0; i < 20; ++i) CHECK(munmap(p[i], (i % 4 == 0 ? 6 : 2) * MIB) == 0);
  expect_within_limit(0);
}

/* A function that returns a number. */
static void put_code(char* at, uint32_t result) {
#ifdef __x86_64__
  const unsigned char code[] = {0xb8,
                                (unsigned char)result,
                                (unsigned char)(result >> 8),
                                (unsigned char)(result >> 16),
                                (unsigned char)(result >> 24),
                                0xc3};
#else
  const uint32_t code[] = {0x52800000u | (result & 0xffff) << 5, 0xd65f03c0u};
#endif
  memcpy(at, code, sizeof code);
}

static void check_code(char* at, uint32_t result) {
  uint32_t (*function)(void);
  memcpy(&function, &at, sizeof at);
  CHECK(function() == result);
}

enum { kCodePages = 512, kCodePart = 5 };

/* In the second half of a block, only every other part may be executed. */
static int may_be_executed(unsigned page) {
  return page < kCodePages / 2 || (page - kCodePages / 2) % (2 * kCodePart) >= kCodePart;
}

static void check_code_page(char* block, unsigned page, uint32_t result) {
  if (may_be_executed(page)) check_code(block + page * PAGE, result);
  const uint64_t* words = (const uint64_t*)(block + page * PAGE);
  uint64_t x = number(block, page);
  for (size_t w = 0; w < kWordsPerPage; ++w) {
    const uint64_t wanted = page % 2 == 0 ? x : ((x = x * 0xd6e8feb86659fd93u + w) | 1);
    CHECK(w == 0 || words[w] == wanted);
  }
}

/* Memory that may be executed, as some collectors and compilers make it. */
static void code(void) {
  enum { kBlocks = 20, kPages = kCodePages };
  char* p[kBlocks];
  for (unsigned i = 0; i < kBlocks; ++i) {
    p[i] = map(kPages * PAGE, kReadWrite | PROT_EXEC);
    for (unsigned page = kPages / 2; page < kPages; page += 2 * kCodePart)
      CHECK(mprotect(p[i] + page * PAGE, (page + kCodePart < kPages ? kCodePart : kPages - page) * PAGE, kReadWrite) ==
            0);
    fill_pages(p[i], kPages * PAGE, p[i]);
    for (unsigned page = 0; page < kPages; ++page) put_code(p[i] + page * PAGE, page + i);
    __builtin___clear_cache(p[i], p[i] + kPages * PAGE);
    expect_within_limit(0);
  }
  size_t away = 0;
  for (unsigned i = 0; i < kBlocks; ++i) away += bytes_away(p[i], kPages * PAGE);
  CHECK(memory_limit() == 0 || away > 10 * MIB);
  for (unsigned round = 0; round < 3; ++round) {
    for (unsigned i = 0; i < kBlocks; ++i) {
      for (unsigned n = 0; n < kPages; ++n) {
        const unsigned page = round == 2 ? n * 37 % kPages : n;
        check_code_page(p[i], page, page + i);
      }
      /* Some of it leaves with fewer rights, and comes back with all. */
      CHECK(mprotect(p[i], kPages * PAGE / 4, kReadWrite) == 0);
    }
    for (unsigned i = 0; i < kBlocks; ++i) CHECK(mprotect(p[i], kPages * PAGE / 4, kReadWrite | PROT_EXEC) == 0);
  }
  for (unsigned i = 0; i < kBlocks; ++i) CHECK(munmap(p[i], kPages * PAGE) == 0);
  expect_within_limit(0);
}

static void parts(void) {
  enum { kPages = 2000 };
  char* p = map(kPages * PAGE, kReadWrite);
  fill_pages(p, kPages * PAGE, p);
  push_out();
  CHECK(munmap(p, 100 * PAGE) == 0);
  CHECK(munmap(p + 1900 * PAGE, 100 * PAGE) == 0);
  CHECK(munmap(p + 700 * PAGE, 600 * PAGE) == 0);
  check_pages(p + 100 * PAGE, 600 * PAGE, p, 100);
  check_pages(p + 1300 * PAGE, 600 * PAGE, p, 1300);
  /* What is unmapped already may be unmapped again; a length need not be one of whole pages. */
  CHECK(munmap(p + 600 * PAGE, 200 * PAGE - 1) == 0);
  check_pages(p + 100 * PAGE, 500 * PAGE, p, 100);
  CHECK(munmap(p + 1, PAGE) == -1 && errno == EINVAL);
  CHECK(munmap(p, 0) == -1 && errno == EINVAL);
  /* Others get what was given back, as zeros. */
  for (int i = 0; i < 30; ++i) {
    char* q = map(PAGE * 64, kReadWrite);
    check_zero(q, PAGE * 64);
    memset(q, i + 1, PAGE * 64);
    CHECK(munmap(q, PAGE * 64) == 0);
  }
  check_pages(p + 100 * PAGE, 500 * PAGE, p, 100);
  check_pages(p + 1300 * PAGE, 600 * PAGE, p, 1300);
  CHECK(munmap(p, kPages * PAGE) == 0);
}

static void fixed(void) {
  enum { kPages = 1024 };
  char path[] = "/var/tmp/weir-test-XXXXXX";
  int fd = mkostemp(path, O_CLOEXEC);
  CHECK(fd >= 0 && unlink(path) == 0 && ftruncate(fd, 1024 * (off_t)PAGE) == 0);
  char* p = map(kPages * PAGE, kReadWrite);
  fill_pages(p, kPages * PAGE, p);
  push_out();
  /* Fresh memory, other protections, a file, in its place. */
  CHECK(mmap(p + 100 * PAGE, 100 * PAGE, kReadWrite, kAnonymous | MAP_FIXED, -1, 0) == p + 100 * PAGE);
  check_zero(p + 100 * PAGE, 100 * PAGE);
  CHECK(mmap(p + 300 * PAGE, 100 * PAGE, PROT_READ, kAnonymous | MAP_FIXED, -1, 0) == p + 300 * PAGE);
  check_zero(p + 300 * PAGE, 100 * PAGE);
  CHECK(mmap(p + 500 * PAGE, 200 * PAGE, kReadWrite, MAP_SHARED | MAP_FIXED, fd, 0) == p + 500 * PAGE);
  memset(p + 500 * PAGE, 7, 200 * PAGE);
  fill_pages(p + 100 * PAGE, 100 * PAGE, path);
  push_out();
  check_pages(p, 100 * PAGE, p, 0);
  check_pages(p + 100 * PAGE, 100 * PAGE, path, 0);
  check_pages(p + 200 * PAGE, 100 * PAGE, p, 200);
  check_pages(p + 400 * PAGE, 100 * PAGE, p, 400);
  for (size_t i = 0; i < 200 * PAGE; ++i) CHECK(p[500 * PAGE + i] == 7);
  char byte = 0;
  CHECK(pread(fd, &byte, 1, 199 * (off_t)PAGE) == 1 && byte == 7);
  check_pages(p + 700 * PAGE, 324 * PAGE, p, 700);
  /* What the kernel refuses changes nothing. */
  CHECK(mmap(p, 16 * PAGE, kReadWrite, MAP_SHARED | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EBADF);
  CHECK(mmap(p + 1, 16 * PAGE, kReadWrite, kAnonymous | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EINVAL);
  CHECK(mmap(p, 16 * PAGE, kReadWrite, kAnonymous | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED && errno == EEXIST);
  check_pages(p, 100 * PAGE, p, 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    check_pages(p, 100 * PAGE, p, 0);
    for (size_t i = 0; i < 200 * PAGE; ++i) CHECK(p[500 * PAGE + i] == 7);
    p[500 * PAGE] = 8;
    check_pages(p + 700 * PAGE, 324 * PAGE, p, 700);
    fill_pages(p + 700 * PAGE, 324 * PAGE, path);
    push_out();
    check_pages(p + 700 * PAGE, 324 * PAGE, path, 0);
    _exit(0);
  }
  expect_success(child);
  CHECK(p[500 * PAGE] == 8);
  check_pages(p + 700 * PAGE, 324 * PAGE, p, 700);
  /* Something else moves there. */
  char* small = map(4 * PAGE, kReadWrite);
  memset(small, 9, 4 * PAGE);
  CHECK(mremap(small, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + 450 * PAGE) == p + 450 * PAGE);
  CHECK(p[450 * PAGE] == 9 && p[453 * PAGE + 4095] == 9);
  check_pages(p + 400 * PAGE, 50 * PAGE, p, 400);
  /* Memory again where the file was. */
  CHECK(mmap(p + 500 * PAGE, 100 * PAGE, kReadWrite, kAnonymous | MAP_FIXED, -1, 0) == p + 500 * PAGE);
  check_zero(p + 500 * PAGE, 100 * PAGE);
  fill_pages(p + 500 * PAGE, 100 * PAGE, path);
  check_pages(p + 500 * PAGE, 100 * PAGE, path, 0);
  CHECK(munmap(p, kPages * PAGE) == 0);
  /* At an address that was just given back. */
  char* q = map(512 * PAGE, kReadWrite);
  CHECK(munmap(q, 512 * PAGE) == 0);
  CHECK(mmap(q, 256 * PAGE, kReadWrite, kAnonymous | MAP_FIXED, -1, 0) == q);
  check_zero(q, 256 * PAGE);
  CHECK(mmap(q + 256 * PAGE, 256 * PAGE, kReadWrite, MAP_SHARED | MAP_FIXED, fd, 0) == q + 256 * PAGE);
  CHECK(q[256 * PAGE] == 8 && q[257 * PAGE] == 7);
  push_out();
  CHECK(munmap(q, 512 * PAGE) == 0);
  child = fork();
  if (child == 0) _exit(0);
  expect_success(child);
  push_out();
}

/* As V8 does: inaccessible memory, cut to what is aligned, and made accessible. */
static void reserve(void) {
  enum { kChunk = 256 * 1024, kChunks = 120 };
  static char* chunks[kChunks];
  for (int i = 0; i < kChunks; ++i) {
    size_t bytes = 2 * kChunk - PAGE;
    char* p = mmap((void*)(uintptr_t)(0x2428a7200000 + (uint64_t)i * 0x100000000), bytes, PROT_NONE,
                   kAnonymous | MAP_NORESERVE, -1, 0);
    CHECK(p != MAP_FAILED);
    char* aligned = (char*)(((uintptr_t)p + kChunk - 1) & ~(uintptr_t)(kChunk - 1));
    CHECK(madvise(p, bytes, MADV_DONTFORK) == 0);
    if (aligned != p) CHECK(munmap(p, (size_t)(aligned - p)) == 0);
    CHECK(munmap(aligned + kChunk, (size_t)(p + bytes - (aligned + kChunk))) == 0);
    CHECK(mprotect(aligned, kChunk, kReadWrite) == 0);
    check_zero(aligned, kChunk);
    fill_pages(aligned, kChunk, aligned);
    chunks[i] = aligned;
    if (i % 3 == 0) CHECK(mprotect(aligned, kChunk / 2, PROT_READ) == 0);
  }
  expect_within_limit(0);
  for (int i = 0; i < kChunks; ++i) check_pages(chunks[i], kChunk, chunks[i], 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    char* p = malloc(8 * MIB);
    CHECK(p != NULL);
    memset(p, 1, 8 * MIB);
    _exit(0);
  }
  expect_success(child);
  for (int i = 0; i < kChunks; i += 2) CHECK(munmap(chunks[i], kChunk) == 0);
  for (int i = 1; i < kChunks; i += 2) check_pages(chunks[i], kChunk, chunks[i], 0);
  /* What was protected is not, for who gets it now. */
  push_out();
  for (int i = 1; i < kChunks; i += 2) CHECK(munmap(chunks[i], kChunk) == 0);
}

/* As Java does it: a place that is much larger than the limit, in which memory is committed and given up again. */
enum { kPieces = 48 };
static void lay_out(size_t bytes, int is_limited) {
  char* pieces[kPieces];
  char* place = map(bytes, PROT_NONE);
  int ends[2];
  CHECK(pipe(ends) == 0);
  for (size_t i = 0; i < kPieces; ++i) {
    pieces[i] = place + bytes / PAGE / kPieces * PAGE * i + (i % 3) * PAGE;
    CHECK(mmap(pieces[i], MIB, kReadWrite, kAnonymous | MAP_FIXED, -1, 0) == pieces[i]);
    check_zero(pieces[i], MIB);
    fill_pages(pieces[i], MIB, pieces[i]);
    CHECK(write(ends[1], pieces[i] + MIB, 1) == -1 && errno == EFAULT);
    CHECK(i == 0 || (write(ends[1], pieces[i] - 1, 1) == -1 && errno == EFAULT));
  }
  if (is_limited) expect_within_limit(0);
  for (int i = 0; i < kPieces; ++i) check_pages(pieces[i], MIB, pieces[i], 0);
  /* Given up, and taken anew. */
  for (int i = 0; i < kPieces; i += 2) {
    CHECK(mmap(pieces[i], MIB, PROT_NONE, kAnonymous | MAP_NORESERVE | MAP_FIXED, -1, 0) == pieces[i]);
    CHECK(write(ends[1], pieces[i] + PAGE, 1) == -1 && errno == EFAULT);
  }
  for (int i = 0; i < kPieces; i += 4) {
    CHECK(mprotect(pieces[i], MIB, kReadWrite) == 0);
    check_zero(pieces[i], MIB);
    fill_pages(pieces[i], MIB, pieces[i]);
  }
  pid_t child = fork();
  CHECK(child >= 0);
  for (int i = 1; i < kPieces; i += 2) check_pages(pieces[i], MIB, pieces[i], 0);
  for (int i = 0; i < kPieces; i += 4) check_pages(pieces[i], MIB, pieces[i], 0);
  if (child == 0) {
    CHECK(mmap(pieces[2], MIB, kReadWrite, kAnonymous | MAP_FIXED, -1, 0) == pieces[2]);
    fill_pages(pieces[2], MIB, pieces[2]);
    check_pages(pieces[2], MIB, pieces[2], 0);
    CHECK(munmap(place, bytes) == 0);
    _exit(0);
  }
  expect_success(child);
  if (is_limited) expect_within_limit(0);
  CHECK(munmap(place, bytes) == 0);
  close(ends[0]);
  close(ends[1]);
}

static void place(void) {
  push_out();
  for (int round = 0; round < 3; ++round) lay_out(640 * MIB, 1);
  check_data(&data);
}

/* What is too large for that is the kernel's; nothing else is different. */
static void far(void) {
  char* much[64];
  push_out();
  lay_out((size_t)8 << 30, 0);
  for (int i = 0; i < 64; ++i) much[i] = map(640 * MIB, PROT_NONE);
  for (int i = 0; i < 64; ++i) CHECK(mprotect(much[i] + 3 * MIB, PAGE, kReadWrite) == 0);
  for (int i = 0; i < 64; ++i) memset(much[i] + 3 * MIB, i, PAGE);
  char* heap = malloc(8 * MIB);
  CHECK(heap != NULL);
  memset(heap, 1, 8 * MIB);
  for (int i = 0; i < 64; ++i) CHECK(much[i][3 * MIB + 5] == i && munmap(much[i], 640 * MIB) == 0);
  free(heap);
  check_data(&data);
}

/* A wish for space that the heap is yet to grow into is not granted, however often; what is given instead is the
 * program's in all ways. */
static void wish_within_heap(void) {
  char* const heap = map(MIB, kReadWrite);
  char* const wished = heap + ((size_t)1 << 38);
  for (int tries = 0; tries < 40; ++tries) {
    char* p = mmap(wished, MIB, kReadWrite, kAnonymous, -1, 0);
    CHECK(p != MAP_FAILED && (p != wished || memory_limit() == 0));
    fill_pages(p, MIB, p);
    CHECK(mmap(p, 4 * PAGE, PROT_NONE, kAnonymous | MAP_FIXED, -1, 0) == p);
    CHECK(munmap(p, MIB) == 0);
    CHECK(mmap(wished, MIB, kReadWrite, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != wished || memory_limit() == 0);
  }
}

/* Who wants this address or none gets it in the end. */
static void wish(void) {
  char* const wished = (char*)0x1228a7200000;
  push_out();
  int tries = 0;
  for (char* p; (p = mmap(wished, MIB, kReadWrite, kAnonymous, -1, 0)) != wished; ++tries) {
    CHECK(p != MAP_FAILED && munmap(p, MIB) == 0 && tries < 30);
  }
  if (memory_limit() == 0) CHECK(tries == 0);
  fill_pages(wished, MIB, wished);
  check_pages(wished, MIB, wished, 0);
  CHECK(munmap(wished, MIB) == 0);
  wish_within_heap();
  check_data(&data);
}

static void remap(void) {
  char* p = map(3 * MIB, kReadWrite);
  fill_pages(p, 3 * MIB, p);
  const char* seed = p;
  push_out();
  p = mremap(p, 3 * MIB, 9 * MIB, MREMAP_MAYMOVE);
  CHECK(p != MAP_FAILED);
  check_pages(p, 3 * MIB, seed, 0);
  check_zero(p + 3 * MIB, 6 * MIB);
  CHECK(mremap(p, 9 * MIB, MIB, 0) == p);
  check_pages(p, MIB, seed, 0);
  /* In place or not at all. */
  void* grown = mremap(p, MIB, 2 * MIB, 0);
  CHECK(grown == p || (grown == MAP_FAILED && errno == ENOMEM));
  check_pages(p, MIB, seed, 0);
  if (grown == p) check_zero(p + MIB, MIB);
  char* room = map(16 * MIB, PROT_NONE);
  char* q = mremap(p, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, room + MIB);
  CHECK(q == room + MIB);
  check_pages(q, MIB, seed, 0);
  CHECK(munmap(room, 16 * MIB) == 0);
  /* (The part of p that had grown is still there, or never was.) */
  CHECK(munmap(p, 2 * MIB) == 0);
  p = map(2 * MIB, kReadWrite);
  fill_pages(p, 2 * MIB, p);
  q = mremap(p, 2 * MIB, 2 * MIB, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
  CHECK(q != MAP_FAILED && q != p);
  check_pages(q, 2 * MIB, p, 0);
  check_zero(p, 2 * MIB);
  CHECK(mremap(p + 1, PAGE, PAGE, 0) == MAP_FAILED && errno == EINVAL);
  CHECK(mremap(p, PAGE, 0, 0) == MAP_FAILED && errno == EINVAL);
  CHECK(munmap(p, 2 * MIB) == 0 && munmap(q, 2 * MIB) == 0);
}

static void touch(void* p) {
  *(volatile char*)p = 1;
}

static void read_from(void* p) {
  (void)*(volatile char*)p;
}

static void expect_fault(void (*what)(void*), void* p) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    what(p);
    _exit(0);
  }
  int status = status_of(child);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void protect(void) {
  char* p = map(2 * MIB, kReadWrite);
  fill_pages(p, 2 * MIB, p);
  push_out();
  CHECK(mprotect(p, MIB, PROT_READ) == 0);
  check_pages(p, 2 * MIB, p, 0);
  expect_fault(touch, p);
  CHECK(mprotect(p, MIB, PROT_NONE) == 0);
  push_out();
  expect_fault(read_from, p + 5 * PAGE);
  CHECK(mprotect(p, MIB, kReadWrite) == 0);
  check_pages(p, 2 * MIB, p, 0);
  CHECK(mprotect(p, MIB, PROT_NONE) == 0);
  CHECK(munmap(p, 2 * MIB) == 0);
  char* q = map(2 * MIB, kReadWrite);
  memset(q, 1, 2 * MIB);
  CHECK(mlock(q, 64 * PAGE) == 0 || errno == ENOMEM || errno == EPERM);
  push_out();
  for (size_t i = 0; i < 2 * MIB; ++i) CHECK(q[i] == 1);
  CHECK(munmap(q, 2 * MIB) == 0);
  push_out();
}

static void advise(void) {
  char* p = map(8 * MIB, kReadWrite);
  fill_pages(p, 8 * MIB, p);
  push_out();
  CHECK(madvise(p + MIB, MIB, MADV_DONTNEED) == 0);
  check_zero(p + MIB, MIB);
  check_pages(p, MIB, p, 0);
  check_pages(p + 2 * MIB, 6 * MIB, p, 2 * MIB / PAGE);
  CHECK(madvise(p, 8 * MIB, MADV_SEQUENTIAL) == 0);
  CHECK(syscall(SYS_madvise, p + 4 * MIB, MIB, MADV_DONTNEED) == 0);
  check_zero(p + 4 * MIB, MIB);
  CHECK(syscall(SYS_munmap, p, 8 * MIB) == 0);
  p = (char*)syscall(SYS_mmap, NULL, MIB, kReadWrite, kAnonymous, -1, 0);
  check_zero(p, MIB);
  CHECK(syscall(SYS_munmap, p, MIB) == 0);
}

static void fork_both(void) {
  char* p = map(12 * MIB, kReadWrite);
  fill_pages(p, 12 * MIB, p);
  push_out();
  for (int round = 0; round < 3; ++round) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      end_if_hung(50);
      check_pages(p, 12 * MIB, p, 0);
      CHECK(munmap(p, 4 * MIB) == 0);
      fill_pages(p + 4 * MIB, 8 * MIB, (const char*)&data);
      char* q = map(4 * MIB, kReadWrite);
      check_zero(q, 4 * MIB);
      fill_pages(q, 4 * MIB, q);
      check_data(&data);
      check_pages(p + 4 * MIB, 8 * MIB, (const char*)&data, 0);
      check_pages(q, 4 * MIB, q, 0);
      _exit(0);
    }
    check_pages(p, 12 * MIB, p, 0);
    expect_success(child);
    check_pages(p, 12 * MIB, p, 0);
  }
}

static void* map_and_unmap(void* number) {
  uint64_t random = (uintptr_t)number;
  static _Thread_local char* held[8];
  static _Thread_local size_t bytes[8];
  for (int i = 0; i < 400; ++i) {
    unsigned slot = next_random(&random) % 8;
    if (held[slot] != NULL) {
      check_pages(held[slot], bytes[slot], held[slot], 0);
      CHECK(munmap(held[slot], bytes[slot]) == 0);
    }
    bytes[slot] = (32 + next_random(&random) % 400) * PAGE;
    held[slot] = map(bytes[slot], kReadWrite);
    check_zero(held[slot], bytes[slot]);
    fill_pages(held[slot], bytes[slot], held[slot]);
    size_t middle = (1 + next_random(&random) % (bytes[slot] / PAGE - 1)) * PAGE;
    CHECK(munmap(held[slot] + middle, bytes[slot] - middle) == 0);
    bytes[slot] = middle;
    free(malloc(next_random(&random) % 100000));
  }
  for (unsigned slot = 0; slot < 8; ++slot)
    if (held[slot] != NULL) CHECK(munmap(held[slot], bytes[slot]) == 0);
  return NULL;
}

static void threads(void) {
  pthread_t running[4];
  push_out();
  for (uintptr_t i = 0; i < 4; ++i) CHECK(pthread_create(&running[i], NULL, map_and_unmap, (void*)(i + 1)) == 0);
  for (int i = 0; i < 4; ++i) CHECK(pthread_join(running[i], NULL) == 0);
  check_data(&data);
  expect_within_limit(0);
}

static void* use_stack(void* unused) {
  volatile char frame[300 * 1024];
  for (size_t i = 0; i < sizeof frame; i += 512) frame[i] = (char)i;
  make_data(&data, 30 * MIB);
  check_data(&data);
  for (size_t i = 0; i < sizeof frame; i += 512) CHECK(frame[i] == (char)i);
  return unused;
}

/* A thread's stack that the program mapped. */
static void stack(void) {
  pthread_t thread;
  pthread_attr_t attributes;
  char* p = map(MIB, kReadWrite);
  CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstack(&attributes, p, MIB) == 0);
  CHECK(pthread_create(&thread, &attributes, use_stack, NULL) == 0 && pthread_join(thread, NULL) == 0);
  CHECK(munmap(p, MIB) == 0);
}

/* The same pages twice, side by side, where memory was reserved. */
static void ring(void) {
  enum { kBytes = 512 * 1024 };
  int fd = memfd_create("ring", MFD_CLOEXEC);
  CHECK(fd >= 0 && ftruncate(fd, kBytes) == 0);
  for (int round = 0; round < 8; ++round) {
    char* p = map(2 * kBytes, round % 2 == 0 ? PROT_NONE : kReadWrite);
    CHECK(mmap(p, kBytes, kReadWrite, MAP_SHARED | MAP_FIXED, fd, 0) == p);
    CHECK(mmap(p + kBytes, kBytes, kReadWrite, MAP_SHARED | MAP_FIXED, fd, 0) == p + kBytes);
    push_out();
    for (int i = 0; i < kBytes; i += 64) p[i] = (char)(i / 64 + round);
    for (int i = 0; i < kBytes; i += 64) CHECK(p[kBytes + i] == (char)(i / 64 + round));
    CHECK(munmap(p, 2 * kBytes) == 0);
  }
  check_data(&data);
}

/* Memory that is mapped and unmapped again and again costs no more each time. */
static void reused(void) {
  for (int i = 0; i < 300; ++i) {
    char* p = map(4 * MIB, kReadWrite);
    memset(p, i + 1, 4 * MIB);
    CHECK(munmap(p, 4 * MIB) == 0);
    char* q = malloc(2 * MIB);
    CHECK(q != NULL);
    memset(q, 1, 2 * MIB);
    free(q);
  }
  expect_within_limit(0);
}

static char* kept[64];
static volatile sig_atomic_t handled;

/* Programs do this, though nobody promises that it works: collectors that run where a thread was stopped. */
static void map_in_handler(int number) {
  int saved = errno;
  (void)number;
  unsigned slot = (unsigned)handled++ % 64;
  if (kept[slot] != NULL) {
    CHECK(kept[slot][0] == 1 && munmap(kept[slot], 256 * 1024) == 0);
  }
  kept[slot] = map(256 * 1024, kReadWrite);
  check_zero(kept[slot], PAGE);
  kept[slot][0] = 1;
  CHECK(mprotect(kept[slot] + PAGE, PAGE, PROT_READ) == 0);
  errno = saved;
}

static void handler(void) {
  struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = map_in_handler;
  CHECK(sigaction(SIGPROF, &action, NULL) == 0 && setitimer(ITIMER_PROF, &often, NULL) == 0);
  uint64_t random = 3;
  static void* objects[400];
  for (int i = 0; i < 20000 || handled < 100; ++i) {
    unsigned slot = next_random(&random) % 400;
    free(objects[slot]);
    objects[slot] = malloc(1 + next_random(&random) % 40000);
    CHECK(objects[slot] != NULL);
    *(char*)objects[slot] = 1;
    if (i % 16 == 0) {
      char* p = map(64 * PAGE, kReadWrite);
      p[0] = 1;
      CHECK(munmap(p, 64 * PAGE) == 0);
    }
  }
  CHECK(setitimer(ITIMER_PROF, &never, NULL) == 0);
}

/* As Ruby maps the pages of its heap: 32 KiB each, cut to 16 that are aligned. */
static void small(void) {
  enum { kCount = 3000 };
  const size_t bytes = 4 * PAGE;
  static char* p[kCount];
  size_t away = 0;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < kCount; ++i) {
      char* all = map(2 * bytes, kReadWrite);
      p[i] = (char*)(((uintptr_t)all + bytes - 1) & ~(uintptr_t)(bytes - 1));
      CHECK(p[i] == all || munmap(all, (size_t)(p[i] - all)) == 0);
      CHECK(munmap(p[i] + bytes, (size_t)(all + bytes - p[i])) == 0);
      check_zero(p[i], bytes);
      fill_pages(p[i], bytes, p[i]);
    }
    expect_within_limit(0);
    for (int i = 0; i < kCount; ++i) away += bytes_away(p[i], bytes);
    for (int i = 0; i < kCount; ++i) check_pages(p[i], bytes, p[i], 0);
    for (int i = 0; i < kCount; i += 2) CHECK(munmap(p[i], bytes) == 0);
    for (int i = 1; i < kCount; i += 2) check_pages(p[i], bytes, p[i], 0);
    for (int i = 1; i < kCount; i += 2) CHECK(munmap(p[i], bytes) == 0);
  }
  CHECK(memory_limit() == 0 || away > 20 * MIB);
}

int main(int argc, char** argv) {
  contract_begin(60);
  CHECK(argc == 2);
  static const struct {
    const char* name;
    void (*run)(void);
  } cases[] = {{"swapped", swapped}, {"code", code},       {"parts", parts},     {"fixed", fixed}, {"reserve", reserve},
               {"place", place},     {"far", far},         {"wish", wish},       {"remap", remap}, {"protect", protect},
               {"advise", advise},   {"fork", fork_both},  {"threads", threads}, {"stack", stack}, {"ring", ring},
               {"reused", reused},   {"handler", handler}, {"small", small}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
    if (strcmp(argv[1], cases[i].name) == 0) return cases[i].run(), 0;
  CHECK(0);
  return 0;
}
