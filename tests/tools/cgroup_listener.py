#!/usr/bin/env python3
"""cgroup_listener.py: on weir, hears of WEIR_EVENT_CGROUP: says "ready", then "heard" when it has happened."""
import ctypes
import select
import time

CGROUP, PATIENCE = 32, 300  # seconds


class Filter(ctypes.Structure):
    """struct weir_event_filter"""
    _fields_ = [("size", ctypes.c_size_t), ("events", ctypes.c_uint32), ("stall_us", ctypes.c_uint64),
                ("window_us", ctypes.c_uint64)]


weir = ctypes.CDLL(None)
wanted = Filter(ctypes.sizeof(Filter), CGROUP, 0, 500000)
events = weir.weir_events_open(ctypes.byref(wanted))
if events < 0:
    raise SystemExit("weir_events_open failed")
print("ready", flush=True)
if select.select([events], [], [], PATIENCE)[0] and weir.weir_events_read(events) == CGROUP:
    print("heard", flush=True)
time.sleep(PATIENCE)
