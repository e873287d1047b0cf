# Completion of rcptgate for fish; made by contrib/completion/generate from the table of commands.
complete -c rcptgate -n __fish_use_subcommand -f
complete -c rcptgate -n __fish_use_subcommand -s V -l version
complete -c rcptgate -n __fish_use_subcommand -f -a run -d 'Runs the milter in the foreground.'
complete -c rcptgate -n __fish_use_subcommand -f -a check -d 'Validates a policy and names every problem; - is standard input.'
complete -c rcptgate -n __fish_use_subcommand -f -a explain -d 'Tells what this RCPT would be answered now, and why. Charges nothing.'
complete -c rcptgate -n __fish_use_subcommand -f -a replay -d 'Runs mail logs through a policy: what would have been refused? Never asks Redis.'
complete -c rcptgate -n __fish_use_subcommand -f -a show -d 'Shows the counters of an address, domain, client or login.'
complete -c rcptgate -n __fish_use_subcommand -f -a top -d 'Shows what is refused most or nearest to a limit, and who floods it.'
complete -c rcptgate -n __fish_use_subcommand -f -a events -d 'Shows the last events of all hosts: limits hit, backends down and up, blocks.'
complete -c rcptgate -n __fish_use_subcommand -f -a reset -d 'Clears counters and holds of a subject.'
complete -c rcptgate -n __fish_use_subcommand -f -a alias -d 'Edits the aliases; an address with * or ? in its local part is a glob.'
complete -c rcptgate -n __fish_use_subcommand -f -a domain -d 'Edits the domains that are ours.'
complete -c rcptgate -n __fish_use_subcommand -f -a sender -d 'Edits the sender rules of an alias, a domain, an owner, or all.'
complete -c rcptgate -n __fish_use_subcommand -f -a client -d 'Edits the client rules; the longest prefix wins, accept exempts.'
complete -c rcptgate -n __fish_use_subcommand -f -a status -d 'Asks the running gate whether it is well, and if not: what, since when, and what to do.'
complete -c rcptgate -n __fish_use_subcommand -f -a block -d 'Refuses clients from now on, on every host.'
complete -c rcptgate -n __fish_use_subcommand -f -a unblock -d 'Ends blocks, on every host.'
complete -c rcptgate -n __fish_use_subcommand -f -a blocks -d 'Lists the blocked networks.'
complete -c rcptgate -n __fish_use_subcommand -f -a postfix-lines -d 'Prints Postfix'\''s settings for this host, as lines to paste; changes nothing.'
complete -c rcptgate -n __fish_use_subcommand -f -a help -d 'Says how a command is used.'
complete -c rcptgate -n '__fish_seen_subcommand_from run' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from check' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from check' -l connect
complete -c rcptgate -n '__fish_seen_subcommand_from check' -l json
complete -c rcptgate -n '__fish_seen_subcommand_from explain' -l to -x
complete -c rcptgate -n '__fish_seen_subcommand_from explain' -l from -x
complete -c rcptgate -n '__fish_seen_subcommand_from explain' -l client -x
complete -c rcptgate -n '__fish_seen_subcommand_from explain' -l user -x
complete -c rcptgate -n '__fish_seen_subcommand_from explain' -l size -x
complete -c rcptgate -n '__fish_seen_subcommand_from explain' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from explain' -l json
complete -c rcptgate -n '__fish_seen_subcommand_from replay' -l policy -r
complete -c rcptgate -n '__fish_seen_subcommand_from replay' -l against -r
complete -c rcptgate -n '__fish_seen_subcommand_from replay' -l no-aliases
complete -c rcptgate -n '__fish_seen_subcommand_from replay' -s n -x
complete -c rcptgate -n '__fish_seen_subcommand_from replay' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from replay' -l json
complete -c rcptgate -n '__fish_seen_subcommand_from show' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from show' -l json
complete -c rcptgate -n '__fish_seen_subcommand_from top' -l by -x -a 'subject client sender rule'
complete -c rcptgate -n '__fish_seen_subcommand_from top' -l limit -x
complete -c rcptgate -n '__fish_seen_subcommand_from top' -s n -x
complete -c rcptgate -n '__fish_seen_subcommand_from top' -l watch
complete -c rcptgate -n '__fish_seen_subcommand_from top' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from top' -l json
complete -c rcptgate -n '__fish_seen_subcommand_from events' -l follow
complete -c rcptgate -n '__fish_seen_subcommand_from events' -s n -x
complete -c rcptgate -n '__fish_seen_subcommand_from events' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from events' -l json
complete -c rcptgate -n '__fish_seen_subcommand_from reset' -l limit -x
complete -c rcptgate -n '__fish_seen_subcommand_from reset' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from reset' -l json
complete -c rcptgate -n '__fish_seen_subcommand_from alias; and not __fish_seen_subcommand_from init add set remove list show import export accept snapshot install rollback' -a 'init add set remove list show import export accept snapshot install rollback'
complete -c rcptgate -n '__fish_seen_subcommand_from alias' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from alias' -l database -r
complete -c rcptgate -n '__fish_seen_subcommand_from alias' -l action -x -a 'accept defer reject discard'
complete -c rcptgate -n '__fish_seen_subcommand_from alias' -l reply -x
complete -c rcptgate -n '__fish_seen_subcommand_from alias' -l mailbox -x
complete -c rcptgate -n '__fish_seen_subcommand_from alias' -l owner -x
complete -c rcptgate -n '__fish_seen_subcommand_from alias' -l class -x
complete -c rcptgate -n '__fish_seen_subcommand_from alias' -l expires -x
complete -c rcptgate -n '__fish_seen_subcommand_from alias' -l group -x
complete -c rcptgate -n '__fish_seen_subcommand_from alias' -l json
complete -c rcptgate -n '__fish_seen_subcommand_from alias' -l format -x -a 'csv jsonl postfix'
complete -c rcptgate -n '__fish_seen_subcommand_from alias' -l update
complete -c rcptgate -n '__fish_seen_subcommand_from alias' -l replace
complete -c rcptgate -n '__fish_seen_subcommand_from alias' -l force
complete -c rcptgate -n '__fish_seen_subcommand_from alias' -l skip-bad
complete -c rcptgate -n '__fish_seen_subcommand_from alias' -l dry-run
complete -c rcptgate -n '__fish_seen_subcommand_from domain; and not __fish_seen_subcommand_from add set remove list import export' -a 'add set remove list import export'
complete -c rcptgate -n '__fish_seen_subcommand_from domain' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from domain' -l database -r
complete -c rcptgate -n '__fish_seen_subcommand_from domain' -l action -x -a 'accept defer reject discard'
complete -c rcptgate -n '__fish_seen_subcommand_from domain' -l reply -x
complete -c rcptgate -n '__fish_seen_subcommand_from domain' -l catch-all -x -a 'accept reject'
complete -c rcptgate -n '__fish_seen_subcommand_from domain' -l owner -x
complete -c rcptgate -n '__fish_seen_subcommand_from domain' -l class -x
complete -c rcptgate -n '__fish_seen_subcommand_from domain' -l json
complete -c rcptgate -n '__fish_seen_subcommand_from domain' -l format -x -a 'csv jsonl postfix'
complete -c rcptgate -n '__fish_seen_subcommand_from domain' -l update
complete -c rcptgate -n '__fish_seen_subcommand_from domain' -l replace
complete -c rcptgate -n '__fish_seen_subcommand_from domain' -l force
complete -c rcptgate -n '__fish_seen_subcommand_from domain' -l skip-bad
complete -c rcptgate -n '__fish_seen_subcommand_from domain' -l dry-run
complete -c rcptgate -n '__fish_seen_subcommand_from sender; and not __fish_seen_subcommand_from add set remove list import export' -a 'add set remove list import export'
complete -c rcptgate -n '__fish_seen_subcommand_from sender' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from sender' -l database -r
complete -c rcptgate -n '__fish_seen_subcommand_from sender' -l action -x -a 'accept defer reject discard'
complete -c rcptgate -n '__fish_seen_subcommand_from sender' -l reply -x
complete -c rcptgate -n '__fish_seen_subcommand_from sender' -l scope -x
complete -c rcptgate -n '__fish_seen_subcommand_from sender' -l json
complete -c rcptgate -n '__fish_seen_subcommand_from sender' -l format -x -a 'csv jsonl postfix'
complete -c rcptgate -n '__fish_seen_subcommand_from sender' -l update
complete -c rcptgate -n '__fish_seen_subcommand_from sender' -l replace
complete -c rcptgate -n '__fish_seen_subcommand_from sender' -l force
complete -c rcptgate -n '__fish_seen_subcommand_from sender' -l skip-bad
complete -c rcptgate -n '__fish_seen_subcommand_from sender' -l dry-run
complete -c rcptgate -n '__fish_seen_subcommand_from client; and not __fish_seen_subcommand_from add set remove list import export' -a 'add set remove list import export'
complete -c rcptgate -n '__fish_seen_subcommand_from client' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from client' -l database -r
complete -c rcptgate -n '__fish_seen_subcommand_from client' -l action -x -a 'accept defer reject discard'
complete -c rcptgate -n '__fish_seen_subcommand_from client' -l reply -x
complete -c rcptgate -n '__fish_seen_subcommand_from client' -l expires -x
complete -c rcptgate -n '__fish_seen_subcommand_from client' -l for -x
complete -c rcptgate -n '__fish_seen_subcommand_from client' -l json
complete -c rcptgate -n '__fish_seen_subcommand_from client' -l format -x -a 'csv jsonl postfix'
complete -c rcptgate -n '__fish_seen_subcommand_from client' -l update
complete -c rcptgate -n '__fish_seen_subcommand_from client' -l replace
complete -c rcptgate -n '__fish_seen_subcommand_from client' -l force
complete -c rcptgate -n '__fish_seen_subcommand_from client' -l skip-bad
complete -c rcptgate -n '__fish_seen_subcommand_from client' -l dry-run
complete -c rcptgate -n '__fish_seen_subcommand_from status' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from status' -l json
complete -c rcptgate -n '__fish_seen_subcommand_from block' -l file -r
complete -c rcptgate -n '__fish_seen_subcommand_from block' -l for -x
complete -c rcptgate -n '__fish_seen_subcommand_from block' -l reason -x
complete -c rcptgate -n '__fish_seen_subcommand_from block' -l action -x -a 'accept defer reject discard'
complete -c rcptgate -n '__fish_seen_subcommand_from block' -l force
complete -c rcptgate -n '__fish_seen_subcommand_from block' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from block' -l json
complete -c rcptgate -n '__fish_seen_subcommand_from unblock' -l file -r
complete -c rcptgate -n '__fish_seen_subcommand_from unblock' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from unblock' -l json
complete -c rcptgate -n '__fish_seen_subcommand_from blocks' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from blocks' -l json
complete -c rcptgate -n '__fish_seen_subcommand_from postfix-lines' -l check
complete -c rcptgate -n '__fish_seen_subcommand_from postfix-lines' -s c -r
complete -c rcptgate -n '__fish_seen_subcommand_from help' -f -a 'run check explain replay show top events reset alias domain sender client status block unblock blocks postfix-lines help'
