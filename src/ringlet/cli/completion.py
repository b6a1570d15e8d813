"""The bash script that completes ringlet's command line. It replaces click's script.

Click's script drops all other words where a file is allowed, too (so that `ringlet boot he<TAB>`
offers no guest), and offers nothing where click has no completion. Ringlet's script offers files
beside the other words, and files alone where there are no other words.

Source: bash(1), "Programmable Completion"; click, shell_completion.py.
"""

from __future__ import annotations

from click.shell_completion import BashComplete, add_completion_class

_SCRIPT = """\
%(complete_func)s() {
    local IFS=$'\\n' type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            plain) COMPREPLY+=("$value") ;;
            file) compopt -o filenames; COMPREPLY+=($(compgen -f -- "$2")) ;;
            dir) compopt -o filenames; COMPREPLY+=($(compgen -d -- "$2")) ;;
        esac
    done < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete $1)
}
complete -o default -o nosort -F %(complete_func)s %(prog_name)s
"""


@add_completion_class
class Bash(BashComplete):
    """Completes by click's answers, with ringlet's own script."""

    source_template = _SCRIPT
