# python_modules.sh: sourced by the tests that run modules of Python's own test suite: compare_modules MODULE...
# Compared is each module's verdict and how many tests ran; the suite's times and temporary names are left out. Each
# module runs in its own process; some leave out tests as root, which is the same in both runs.
run_module() {
  PYTHONMALLOC=malloc timeout 900 "$python" -X dev=0 -m unittest "test.$module" 2>&1 | tee "$room/module.log" |
    sed -nE 's/^(Ran [0-9]+ tests?) in .*/\1/p; /^(OK|FAILED)/p; /^(ERROR|FAIL):/p'
  local status=${PIPESTATUS[0]}
  [ "$status" = 0 ] || tail -n 30 "$room/module.log" >&2
  return "$status"
}

compare_modules() {
  [ -n "$python" ] || skip "python3 is not installed"
  "$python" -c 'import test.test_list' 2>/dev/null || skip "libpython3.11-testsuite is not installed"
  for module in "$@"; do compare "$module" run_module; done
}
