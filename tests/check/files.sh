# files.sh: sourced by the checks. Defines project_files: the files that belong to the project, one per line, relative to
# its top: what git tracks or would track; in an unpacked archive everything but the build directories.
project_files() {
  if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git ls-files --cached --others --exclude-standard | while IFS= read -r file; do
      [ -e "$file" ] && printf '%s\n' "$file"
    done
  else
    find . -type f -not -path './.git/*' -not -path './build/*' -not -path './build-*' | sed 's|^\./||'
  fi | sort -u
}
