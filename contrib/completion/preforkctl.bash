# shellcheck shell=bash
# preforkctl.bash - completion of preforkctl's commands and options.

_preforkctl_slots()
{
	local words=() i
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--file | --socket)
			words+=("${COMP_WORDS[i]}" "${COMP_WORDS[i + 1]}")
			;;
		esac
	done
	command preforkctl --timeout 1 --json "${words[@]}" status 2>/dev/null |
		sed -n 's/^ *"slot": \([0-9]*\),*$/\1/p' | sort -nu
}

_preforkctl()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local commands="status reload recycle stop scale report memory metrics help"
	local options="--file --socket --json --no-wait --timeout --quick --record --series --reload-on-rss --memory --seconds --help --version"
	local choices="$options $commands" i

	COMPREPLY=()
	case $prev in
	--file | --socket | --record | --series)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--timeout | --reload-on-rss | --seconds | scale)
		return
		;;
	recycle)
		choices="all $(_preforkctl_slots)"
		;;
	report)
		choices=$(_preforkctl_slots)
		;;
	*)
		for ((i = 1; i < COMP_CWORD; i++)); do
			case " $commands " in
			*" ${COMP_WORDS[i]} "*) choices=$options ;;
			esac
		done
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$cur")
}

complete -F _preforkctl preforkctl
