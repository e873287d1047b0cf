# Completion of rcptgate for bash; made by contrib/completion/generate from the table of commands.
# shellcheck shell=bash disable=SC2207
_rcptgate() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command="" words="" i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} == -c ]]; then
            ((i++))
        elif [[ ${COMP_WORDS[i]} != -* ]]; then
            command=${COMP_WORDS[i]}
            break
        fi
    done
    case $prev in
        --by) COMPREPLY=($(compgen -W "subject client sender rule" -- "$cur")); return ;;
        --action) COMPREPLY=($(compgen -W "accept defer reject discard" -- "$cur")); return ;;
        --catch-all) COMPREPLY=($(compgen -W "accept reject" -- "$cur")); return ;;
        --format) COMPREPLY=($(compgen -W "csv jsonl postfix" -- "$cur")); return ;;
        -c|--database|--file|--policy|--against) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --class|--client|--expires|--for|--from|--group|--limit|--mailbox|--owner|--reason|--reply|--scope|--size|--to|--user|-n) return ;;
    esac
    case $command in
        "") words="run check explain replay show top events reset alias domain sender client status block unblock blocks postfix-lines help -V --version" ;;
        help) words="run check explain replay show top events reset alias domain sender client status block unblock blocks postfix-lines help" ;;
        run) words="-c" ;;
        check) words="-c --connect --json" ;;
        explain) words="--to --from --client --user --size -c --json" ;;
        replay) words="--policy --against --no-aliases -n -c --json" ;;
        show) words="-c --json" ;;
        top) words="--by --limit -n --watch -c --json" ;;
        events) words="--follow -n -c --json" ;;
        reset) words="--limit -c --json" ;;
        alias) words="init add set remove list show import export accept snapshot install rollback -c --database --action --reply --mailbox --owner --class --expires --group --json --format --update --replace --force --skip-bad --dry-run" ;;
        domain) words="add set remove list import export -c --database --action --reply --catch-all --owner --class --json --format --update --replace --force --skip-bad --dry-run" ;;
        sender) words="add set remove list import export -c --database --action --reply --scope --json --format --update --replace --force --skip-bad --dry-run" ;;
        client) words="add set remove list import export -c --database --action --reply --expires --for --json --format --update --replace --force --skip-bad --dry-run" ;;
        status) words="-c --json" ;;
        block) words="--file --for --reason --action --force -c --json" ;;
        unblock) words="--file -c --json" ;;
        blocks) words="-c --json" ;;
        postfix-lines) words="--check -c" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
    if [[ ${#COMPREPLY[@]} -eq 0 && $cur != -* && -n $command ]]; then
        COMPREPLY=($(compgen -f -- "$cur"))
    fi
}
complete -o filenames -F _rcptgate rcptgate
