#!/usr/bin/env bash
# git: a repository with branches, merges, packs and a clone; with fixed names and dates its hashes must be the same.
. "$(dirname "$0")/../common.sh"
need git seq

export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=c GIT_COMMITTER_EMAIL=c@example.org
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
use_git() {
  local i
  git init -q -b main tree && cd tree || return 1
  mkdir -p deep/er
  for i in $(seq 40); do
    export GIT_AUTHOR_DATE="$((1000000000 + i * 60)) +0000" GIT_COMMITTER_DATE="$((1000000000 + i * 60)) +0000"
    seq $((i * 100)) >"numbers$((i % 7))"
    seq $((i * 13)) | tr 0-9 a-j >"deep/er/letters$i"
    git add -A && git commit -q -m "change $i" || return 1
  done
  git checkout -q -b side HEAD~10 && seq 5000 >side && git add side && git commit -q -m side || return 1
  git checkout -q main && git merge -q --no-edit side || return 1
  git log --stat --format='%H %T %s' | cat
  git gc -q --aggressive --prune=now
  git fsck --full --strict 2>&1 | grep -v '^Checking'
  git rev-list --objects --all | sort | sha256sum
  git diff HEAD~30 HEAD | sha256sum
  git blame deep/er/letters20 | sha256sum
  git grep -c 77 HEAD -- 'numbers*'
  git clone -q --no-local . ../copy && git -C ../copy rev-parse HEAD
  git archive HEAD | sha256sum
}
compare "git" use_git
