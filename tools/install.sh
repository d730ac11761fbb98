# install.sh: sourced by the scripts of tools/. install_packages NAME... installs the Debian packages that are missing.
#
# Nothing is started: while it installs, a policy file keeps package scripts from starting services.

# Prints those of the packages that are not installed.
missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || printf '%s ' "$package"
  done
}

install_packages() {
  local missing policy=/usr/sbin/policy-rc.d made_policy=no status=0
  command -v dpkg-query >/dev/null || { echo "weir: this is not Debian: install the packages for: $*" >&2; return 1; }
  read -r -a missing <<<"$(missing_packages "$@")"
  [ "${#missing[@]}" -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    echo "weir: packages are missing, run: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
    return 1
  fi
  echo "installing ${missing[*]}"
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made_policy=yes
  fi
  local log
  log=$(mktemp)
  # Package lists may be missing or old on a fresh machine: fetch them when the first try fails.
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1 ||
    { apt-get update >>"$log" 2>&1 &&
      DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1; } || status=1
  [ "$made_policy" = no ] || rm -f "$policy"
  if [ "$status" != 0 ]; then
    tail -n 15 "$log" >&2
    echo "weir: apt-get could not install ${missing[*]}" >&2
  fi
  rm -f "$log"
  return "$status"
}

# What every build needs.
BUILD_PACKAGES="g++ cmake ninja-build pkg-config libhwloc-dev liblz4-dev libzstd-dev libgtest-dev libcli11-dev libfmt-dev
  libncurses-dev"
