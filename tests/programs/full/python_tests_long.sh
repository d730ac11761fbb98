#!/usr/bin/env bash
# The longer modules of Python's own test suite.
. "$(dirname "$0")/../common.sh"
. "$(dirname "$0")/../python_modules.sh"
compare_modules test_subprocess test_multiprocessing_fork test_set test_array test_zlib test_mmap test_queue \
  test_concurrent_futures test_ctypes test_pickle test_re test_io test_struct
