# A private PostgreSQL with the extension, and a sidecar: for the demo, for
# development and for pg_regress. Sourced after lib.sh; RUN is the directory in
# which everything lives, made by make_run_dir.
#
# The extension must not go into the system's directories, and before 18
# PostgreSQL looks nowhere else. But it finds its files from where its own
# program lies. So the cluster runs from a tree that looks as the installed one:
# copies of three programs, and links for the rest.

# Where the demo's cluster is: scripts/test-demo has one of its own.
# shellcheck disable=SC2034
DEMO_RUN=${HALLWAY_RUN:-$DEV/run}

# make_tree: $RUN/pg. Made once; the extension's files are put in at each call.
make_tree() {
	local bin share lib f name tree=$RUN/pg
	bin=$("$PG_CONFIG" --bindir)
	share=$("$PG_CONFIG" --sharedir)
	lib=$("$PG_CONFIG" --pkglibdir)
	[ -x "$bin/initdb" ] || die "$bin/initdb is not there" \
		"$PG_CONFIG belongs to an installation without a server; PG_CONFIG names another one."
	if [ ! -e "$tree$bin/.complete" ]; then
		rm -rf -- "$tree"
		mkdir -p -- "$tree$bin" "$tree$lib" "$tree$share/extension"
		for name in postgres initdb pg_ctl; do cp -- "$bin/$name" "$tree$bin/"; done
		for f in "$bin"/*; do
			[ -e "$tree$bin/${f##*/}" ] || ln -s -- "$f" "$tree$bin/"
		done
		for f in "$lib"/*; do
			[ "${f##*/}" = hallway.so ] || ln -s -- "$f" "$tree$lib/"
		done
		for f in "$share"/*; do
			[ "${f##*/}" = extension ] || ln -s -- "$f" "$tree$share/"
		done
		for f in "$share"/extension/*; do
			case ${f##*/} in hallway*) ;; *) ln -s -- "$f" "$tree$share/extension/" ;; esac
		done
		touch "$tree$bin/.complete"
	fi
	# By install, which makes a new file: the old one may be mapped.
	install -m 755 "$ROOT/fdw_shim/hallway.so" "$tree$lib/hallway.so"
	install -m 644 "$ROOT"/sql/hallway.control "$ROOT"/sql/hallway--*.sql "$tree$share/extension/"
	BIN=$tree$bin
	TREE_LIB=$tree$lib
}

# start_postgres [LINE...]: makes the cluster if it is not there, with these lines
# in its configuration, and starts it. It listens on a socket in $RUN/s alone,
# which root, PostgreSQL's user and whoever called sudo may use. PG_WRAPPER, an
# array that is empty unless the script sets it, is what to run the server under;
# PG_TIMEOUT is how many seconds starting and stopping may take.
PG_WRAPPER=()
PG_TIMEOUT=
start_postgres() {
	local locale=C user server
	alive "$RUN/data/postmaster.pid" && return
	if [ ! -f "$RUN/data/PG_VERSION" ]; then
		rm -rf -- "$RUN/data"
		if locale -a 2>/dev/null | grep -ix 'C.utf-\?8' >/dev/null; then locale=C.UTF-8; fi
		as_pg "$BIN/initdb" -D "$RUN/data" -U postgres -E UTF8 --locale=$locale -A peer --no-sync \
			>"$RUN/initdb.log" 2>&1 || {
			cat "$RUN/initdb.log" >&2
			die "initdb failed"
		}
		as_pg mkdir -p -m 755 "$RUN/s"
		echo "local all all peer map=private" >"$RUN/data/pg_hba.conf"
		for user in root "$PG_USER" ${SUDO_USER:+"$SUDO_USER"}; do
			echo "private \"$user\" postgres"
		done | sort -u >"$RUN/data/pg_ident.conf"
		# The sidecar, which keeps rows here.
		echo "private \"$PG_USER\" hallway" >>"$RUN/data/pg_ident.conf"
		{
			echo "listen_addresses = ''"
			echo "unix_socket_directories = '$RUN/s'"
			echo "fsync = off"
			echo "max_wal_size = 512MB"
			echo "hallway.address = 'unix:$RUN/hallway.sock'"
			printf '%s\n' "$@"
		} >>"$RUN/data/postgresql.conf"
	fi
	rm -f "$RUN/postgres.log"
	server=$BIN/postgres
	if [ ${#PG_WRAPPER[@]} -gt 0 ]; then
		# pg_ctl runs one program. By exec, as it knows the server by its pid.
		server=$RUN/wrapped-postgres
		printf '#!/bin/sh\nexec%s "$@"\n' "$(printf ' %q' "${PG_WRAPPER[@]}" "$BIN/postgres")" >"$server"
		chmod 755 "$server"
	fi
	as_pg "$BIN/pg_ctl" -D "$RUN/data" -l "$RUN/postgres.log" -p "$server" -s -w -t "${PG_TIMEOUT:-60}" start || {
		tail -n 20 "$RUN/postgres.log" >&2
		die "PostgreSQL did not start"
	}
}

stop_postgres() {
	if alive "$RUN/data/postmaster.pid"; then
		as_pg "${BIN:-$(dirname "$(find "$RUN/pg" -name pg_ctl -print -quit)")}/pg_ctl" \
			-D "$RUN/data" -s -m fast -w -t "${PG_TIMEOUT:-30}" stop ||
			stop_by_pid "$RUN/data/postmaster.pid" QUIT
	fi
}

# start_sidecar ARGUMENT...: unless one of the same program and arguments runs.
start_sidecar() {
	local want
	want="$(sha256sum <"$DEV/bin/hallway") $*"
	if alive "$RUN/hallway.pid" && [ "$(cat "$RUN/hallway.started-as" 2>/dev/null)" = "$want" ]; then
		return
	fi
	stop_by_pid "$RUN/hallway.pid"
	install -m 755 "$DEV/bin/hallway" "$RUN/hallway"
	as_pg mkdir -p -m 755 "$RUN/manifests"
	as_pg mkdir -p -m 700 "$RUN/secrets"
	install -m 644 "$ROOT"/examples/*.yaml "$RUN/manifests/"
	# As an array: paths may hold spaces. No settings file but ours.
	start_as_pg "$RUN/hallway.log" "$RUN/hallway.pid" "$RUN/hallway" serve \
		--listen "unix:$RUN/hallway.sock" --socket-group "" --allow-users "$PG_USER" \
		--manifests "$RUN/manifests" --secrets "$RUN/secrets" "$@"
	wait_for 60 "the sidecar" "$RUN/hallway.log" test -S "$RUN/hallway.sock"
	alive "$RUN/hallway.pid" || die "the sidecar ended at once: $(tail -n 5 "$RUN/hallway.log")"
	printf '%s\n' "$want" >"$RUN/hallway.started-as"
}

# sql DATABASE ARGUMENT...: psql on the private cluster as its superuser.
sql() {
	local database=$1
	shift
	PGOPTIONS='' "$BIN/psql" -X -h "$RUN/s" -U postgres -d "$database" "$@"
}
