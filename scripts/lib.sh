# What the scripts share: where things are, who runs PostgreSQL, how to talk.
# Sourced by bash, not run. What one script alone needs does not belong here.

set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
DEV=$ROOT/.dev
PG_CONFIG=${PG_CONFIG:-pg_config}

# The toolchain that scripts/bootstrap fetched comes before the machine's, and
# Go is not to fetch another one behind our back.
export PATH="$DEV/go/bin:$DEV/bin:$PATH"
export GOTOOLCHAIN=local

say() { printf '%s\n' "$*"; }
step() { printf '==> %s\n' "$*"; }
die() {
	printf '%s: %s\n' "${0##*/}" "$1" >&2
	shift
	for line in "$@"; do printf '  %s\n' "$line" >&2; done
	exit 1
}

# PostgreSQL refuses to run as root: there, it runs as "postgres".
if [ "$(id -u)" = 0 ]; then
	PG_USER=postgres
else
	PG_USER=$(id -un)
fi

# as_pg COMMAND...: as the user that PostgreSQL runs as, in a directory and with
# a home that this user can enter.
as_pg() {
	if [ "$(id -u)" = 0 ]; then
		(cd / && HOME=/tmp runuser -u "$PG_USER" -- "$@" 9>&-)
	else
		"$@" 9>&-
	fi
}

# pg_major: the version of the PostgreSQL that PG_CONFIG belongs to.
pg_major() { "$PG_CONFIG" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/'; }

# free_port: a TCP port that nobody listens on now, nor is given one for a connection.
free_port() {
	local port
	while :; do
		port=$((20000 + RANDOM % 12000))
		if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			printf '%s\n' "$port"
			return
		fi
	done
}

# make_run_dir LINK: a directory that PG_USER owns and can reach and whose path
# is short enough for a Unix socket (107 bytes, of which the name takes some).
# Where the checkout's own place will not do, it is in /tmp and LINK leads there.
# A directory made before is kept. Prints the path.
make_run_dir() {
	local link=$1 dir
	if [ -d "$link" ]; then
		(cd -- "$link" && pwd -P)
		return
	fi
	rm -f -- "$link"
	mkdir -p -- "$(dirname -- "$link")"
	if [ "${#link}" -le 70 ] && [ "$link" = "${link//[[:space:]\']/}" ]; then
		mkdir -- "$link"
		chmod 755 "$link"
		if as_pg test -x "$link" 2>/dev/null; then
			chown "$PG_USER" "$link"
			printf '%s\n' "$link"
			return
		fi
		rmdir -- "$link"
	fi
	dir=$(mktemp -d /tmp/hallway-XXXXXX)
	chmod 755 "$dir"
	chown "$PG_USER" "$dir"
	ln -s "$dir" "$link"
	printf '%s\n' "$dir"
}

# remove_run_dir LINK: what make_run_dir made.
remove_run_dir() {
	local link=$1 dir
	if [ -L "$link" ]; then
		dir=$(readlink -- "$link")
		case $dir in
		/tmp/hallway-*) rm -rf -- "$dir" ;;
		esac
		rm -f -- "$link"
	elif [ -d "$link" ]; then
		rm -rf -- "$link"
	fi
}

# alive PIDFILE: whether the process that the file names runs. Its first line
# is the pid, as in postmaster.pid.
alive() {
	local pid
	[ -s "$1" ] && read -r pid <"$1" && kill -0 "$pid" 2>/dev/null
}

# stop_by_pid PIDFILE [SIGNAL]: ends the process and waits for it, 15 seconds at
# most and then by force.
stop_by_pid() {
	local file=$1 signal=${2:-TERM} pid i
	if alive "$file"; then
		read -r pid <"$file"
		kill -s "$signal" "$pid" 2>/dev/null || true
		for ((i = 0; i < 150; i++)); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.1
		done
		kill -s KILL "$pid" 2>/dev/null || true
	fi
	rm -f -- "$file"
}

# wait_for SECONDS WHAT LOG COMMAND...: until the command succeeds; if it never
# does, the log's end is shown.
wait_for() {
	local seconds=$1 what=$2 log=$3 i
	shift 3
	for ((i = 0; i < seconds * 20; i++)); do
		if "$@" >/dev/null 2>&1; then return; fi
		sleep 0.05
	done
	printf '%s did not start within %s seconds. The end of %s:\n' "$what" "$seconds" "$log" >&2
	tail -n 20 -- "$log" >&2 || true
	exit 1
}

# start_as_pg LOG PIDFILE COMMAND...: a daemon without a terminal.
start_as_pg() {
	local log=$1 pidfile=$2
	shift 2
	# The shell in between writes its own pid, which exec keeps.
	as_pg setsid --fork sh -c 'echo $$ >"$1"; log=$2; shift 2; exec "$@" >>"$log" 2>&1 </dev/null' \
		sh "$pidfile" "$log" "$@" >/dev/null 2>&1 </dev/null
}
