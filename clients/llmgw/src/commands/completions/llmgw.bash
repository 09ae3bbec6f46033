# Completions of llmgw for bash 3.2 or newer.
_llmgw() {
    # Readline splits words at : and =, which ids of models and options contain. Here they are joined again, up to the
    # cursor, and what readline has in front of its word is cut off from the answers.
    local line=${COMP_LINE:0:COMP_POINT} word space breaks front='' i n=-1
    local -a words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        space=${line%%[![:space:]]*}
        if [[ $i -eq 0 || -n $space ]]; then
            n=$((n + 1))
            words[n]=''
        fi
        line=${line#"$space"}
        word=${COMP_WORDS[i]}
        [[ $i -lt $COMP_CWORD ]] || word=$line
        words[n]+=$word
        line=${line#"$word"}
    done
    breaks=${COMP_WORDBREAKS//[^:=]/}
    [[ -z $breaks ]] || front=${words[n]%"${words[n]##*[$breaks]}"}
    COMPREPLY=()
    while IFS= read -r word || [[ -n $word ]]; do
        [[ -z $word ]] || COMPREPLY+=("${word#"$front"}")
    done < <(LLMGW_COMPLETE=bash _CLAP_COMPLETE_INDEX=$n _CLAP_IFS=$'\n' llmgw -- "${words[@]}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/=] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -o default -o bashdefault -F _llmgw llmgw
