# SPDX-License-Identifier: MIT
# bash completion for famez-stress(1)

_famez_stress()
{
	local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	local scenarios="mesh pairs ring incast fanout storm churn stall bulk soak"

	case $before in
	--scenario)
		mapfile -t COMPREPLY < <(compgen -W "$scenarios" -- "$current")
		;;
	--with)
		mapfile -t COMPREPLY < <(compgen -W "bells messages both" -- "$current")
		;;
	-S | --socketpath | --connect | --agent | --json | --csv | --svg)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		;;
	--server)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -fc -- "$current")
		;;
	--peers | --vectors | --processes | --vm | --size | --rate | --time | --warm-up | --rounds | --seed | --patience) ;;
	*)
		mapfile -t COMPREPLY < <(compgen -W "$scenarios -S --socketpath --connect --scenario --server --peers
			--vectors --processes --vm --with --size --rate --time --warm-up --rounds --seed --patience
			--json --csv --svg --join-only --hold --agent -h --help --version" -- "$current")
		;;
	esac
}

complete -F _famez_stress famez-stress
