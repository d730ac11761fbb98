#!/usr/bin/env bash
# Modules of Python's own test suite that stress memory, threads and processes, in minutes at most.
. "$(dirname "$0")/../common.sh"
. "$(dirname "$0")/../python_modules.sh"
compare_modules test_list test_dict test_json test_bytes test_threading test_thread test_gc test_weakref
