#compdef rcptgate
# Completion of rcptgate for zsh; made by contrib/completion/generate from the table of commands.
_rcptgate() {
    local -a commands
    local state
    commands=(
        'run:Runs the milter in the foreground.'
        'check:Validates a policy and names every problem; - is standard input.'
        'explain:Tells what this RCPT would be answered now, and why. Charges nothing.'
        'replay:Runs mail logs through a policy: what would have been refused? Never asks Redis.'
        'show:Shows the counters of an address, domain, client or login.'
        'top:Shows what is refused most or nearest to a limit, and who floods it.'
        'events:Shows the last events of all hosts: limits hit, backends down and up, blocks.'
        'reset:Clears counters and holds of a subject.'
        'alias:Edits the aliases; an address with * or ? in its local part is a glob.'
        'domain:Edits the domains that are ours.'
        'sender:Edits the sender rules of an alias, a domain, an owner, or all.'
        'client:Edits the client rules; the longest prefix wins, accept exempts.'
        'status:Asks the running gate whether it is well, and if not: what, since when, and what to do.'
        'block:Refuses clients from now on, on every host.'
        'unblock:Ends blocks, on every host.'
        'blocks:Lists the blocked networks.'
        'postfix-lines:Prints Postfix'\''s settings for this host, as lines to paste; changes nothing.'
        'help:Says how a command is used.'
    )
    _arguments -C '-c:file:_files' '(- *)'{-V,--version} '1:command:->command' '*::argument:->argument'
    case $state in
        command) _describe command commands ;;
        argument) _rcptgate_arguments "$words[1]" ;;
    esac
}
_rcptgate_arguments() {
    case $1 in
        run) _arguments '-c:file:_files' '*:file:_files' ;;
        check) _arguments '-c:file:_files' '--connect' '--json' '*:file:_files' ;;
        explain) _arguments '--to:value:' '--from:value:' '--client:value:' '--user:value:' '--size:value:' '-c:file:_files' '--json' '*:file:_files' ;;
        replay) _arguments '--policy:file:_files' '--against:file:_files' '--no-aliases' '-n:value:' '-c:file:_files' '--json' '*:file:_files' ;;
        show) _arguments '-c:file:_files' '--json' '*:file:_files' ;;
        top) _arguments '--by:value:(subject client sender rule)' '--limit:value:' '-n:value:' '--watch' '-c:file:_files' '--json' '*:file:_files' ;;
        events) _arguments '--follow' '-n:value:' '-c:file:_files' '--json' '*:file:_files' ;;
        reset) _arguments '--limit:value:' '-c:file:_files' '--json' '*:file:_files' ;;
        alias) _arguments '-c:file:_files' '--database:file:_files' '--action:value:(accept defer reject discard)' '--reply:value:' '--mailbox:value:' '--owner:value:' '--class:value:' '--expires:value:' '--group:value:' '--json' '--format:value:(csv jsonl postfix)' '--update' '--replace' '--force' '--skip-bad' '--dry-run' '1:verb:(init add set remove list show import export accept snapshot install rollback)' '*:file:_files' ;;
        domain) _arguments '-c:file:_files' '--database:file:_files' '--action:value:(accept defer reject discard)' '--reply:value:' '--catch-all:value:(accept reject)' '--owner:value:' '--class:value:' '--json' '--format:value:(csv jsonl postfix)' '--update' '--replace' '--force' '--skip-bad' '--dry-run' '1:verb:(add set remove list import export)' '*:file:_files' ;;
        sender) _arguments '-c:file:_files' '--database:file:_files' '--action:value:(accept defer reject discard)' '--reply:value:' '--scope:value:' '--json' '--format:value:(csv jsonl postfix)' '--update' '--replace' '--force' '--skip-bad' '--dry-run' '1:verb:(add set remove list import export)' '*:file:_files' ;;
        client) _arguments '-c:file:_files' '--database:file:_files' '--action:value:(accept defer reject discard)' '--reply:value:' '--expires:value:' '--for:value:' '--json' '--format:value:(csv jsonl postfix)' '--update' '--replace' '--force' '--skip-bad' '--dry-run' '1:verb:(add set remove list import export)' '*:file:_files' ;;
        status) _arguments '-c:file:_files' '--json' '*:file:_files' ;;
        block) _arguments '--file:file:_files' '--for:value:' '--reason:value:' '--action:value:(accept defer reject discard)' '--force' '-c:file:_files' '--json' '*:file:_files' ;;
        unblock) _arguments '--file:file:_files' '-c:file:_files' '--json' '*:file:_files' ;;
        blocks) _arguments '-c:file:_files' '--json' '*:file:_files' ;;
        postfix-lines) _arguments '--check' '-c:file:_files' '*:file:_files' ;;
        help) _arguments  '1:command:(run check explain replay show top events reset alias domain sender client status block unblock blocks postfix-lines help)' '*:file:_files' ;;
    esac
}
_rcptgate "$@"
