# weir.bash: completion of the command weir for bash. It asks the command itself what may come (weir __complete), so it
# knows every command, option and key that the command knows. Installed as share/bash-completion/completions/weir; works
# without the package bash-completion too, when it is sourced.

# _weir_split: splits the line into _weir_words as weir gets them, and notes in _weir_origin where each begins in
# COMP_WORDS: bash takes --limit=1G for three words, and here it is one.
_weir_split() {
  local i rest=$COMP_LINE before
  _weir_words=() _weir_origin=()
  for ((i = 0; i <= COMP_CWORD; i++)); do
    before=${rest%%"${COMP_WORDS[i]}"*}
    [[ -n ${COMP_WORDS[i]} ]] || before=${rest%%[^[:blank:]]*}
    rest=${rest:${#before}+${#COMP_WORDS[i]}}
    if ((i > 1)) && [[ -z $before ]]; then
      _weir_words[-1]+=${COMP_WORDS[i]}
    elif ((i > 0)); then
      _weir_words+=("${COMP_WORDS[i]}")
      _weir_origin+=("$i")
    fi
  done
}

# _weir_paths FLAG N: adds what the typed word can go on with as a path behind its first N characters.
_weir_paths() {
  local path
  compopt -o filenames 2>/dev/null
  while IFS= read -r path; do
    COMPREPLY+=("${_weir_words[-1]:0:$2}$path")
  done < <(compgen "$1" -- "${_weir_words[-1]:$2}")
}

# _weir_program N: the words from the Nth on are another command's.
_weir_program() {
  local offset=${_weir_origin[$1]}
  if declare -F _comp_command_offset >/dev/null; then
    _comp_command_offset "$offset"
  elif declare -F _command_offset >/dev/null; then
    _command_offset "$offset"
  elif ((offset == COMP_CWORD)) && [[ ${COMP_WORDS[COMP_CWORD]} != */* ]]; then
    mapfile -t COMPREPLY < <(compgen -c -- "${COMP_WORDS[COMP_CWORD]}" | sort -u)
  else
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
  fi
}

_weir() {
  local _weir_words _weir_origin line i typed skip
  COMPREPLY=()
  _weir_split
  while IFS= read -r line; do
    case $line in
      :nospace) compopt -o nospace 2>/dev/null ;;
      :files\ *) _weir_paths -f "${line#* }" ;;
      :directories\ *) _weir_paths -d "${line#* }" ;;
      :program\ *) _weir_program "${line#* }"; return ;;
      *) COMPREPLY+=("$line") ;;
    esac
  done < <(LD_PRELOAD='' WEIR_CONF='' "${COMP_WORDS[0]}" __complete "${_weir_words[@]}" 2>/dev/null)
  # What bash replaces is only what stands behind the last = or colon.
  typed=${COMP_WORDS[COMP_CWORD]}
  [[ $typed != [=:]* ]] || typed=
  skip=$((${#_weir_words[-1]} - ${#typed}))
  for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]=${COMPREPLY[i]:skip}; done
}

complete -F _weir weir
