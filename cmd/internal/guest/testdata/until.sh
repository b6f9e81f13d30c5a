# Goes before the tests' scripts that run in the guest; these have a fail of their own.

# until_true WHAT COMMAND... tries for a minute: 300 times, 0.2 s apart.
until_true() {
	what=$1 n=0
	shift
	until "$@"; do
		n=$((n + 1))
		[ $n -lt 300 ] || fail "$what"
		sleep 0.2
	done
}
