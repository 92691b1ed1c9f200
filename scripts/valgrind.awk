# Sums up memcheck's XML files, one for each process of a PostgreSQL, and fails if
# one of them reports the shim or a library of its own.
#
# A report is the shim's if any frame of any of its stacks (where it happened,
# where the block was allocated or freed) is in hallway.so, libnghttp2 or
# libprotobuf-c. These are printed, each once with the number of processes that
# made it. Those of PostgreSQL alone are printed too, but do not fail the run.
# Nor may a process end without having told of its leaks.
#
# It reads the lines as valgrind writes them, one element a line, and no XML in
# general: a process made by fork leaves out the header.

function inner(line) {
	sub(/^ *<[a-z]+>/, "", line)
	sub(/<\/[a-z]+> *$/, "", line)
	gsub(/&lt;/, "<", line)
	gsub(/&gt;/, ">", line)
	gsub(/&apos;/, "'", line)
	gsub(/&quot;/, "\"", line)
	gsub(/&amp;/, "\\&", line)
	return line
}

FNR == 1 {
	processes++
	inside = other = command = 0
}

# What COPY FROM PROGRAM starts is not PostgreSQL, and a cancel may end it anywhere.
/<argv>/ { command = 1 }
command && /<exe>/ {
	command = 0
	if (inner($0) !~ /\/postgres$/) {
		other = 1
		processes--
	}
}

/<error>/ {
	inside = 1
	ours = 0
	text = ""
	kind = ""
}
/<fatal_signal>/ && !other { crashed++ }
/<state>FINISHED<\/state>/ && !other { finished++ }

inside && /<kind>/ { kind = inner($0) }
# Sizes and addresses differ between processes, and so are left out of what
# tells reports apart.
inside && /<(what|text|auxwhat)>/ {
	what = inner($0)
	gsub(/0x[0-9a-fA-F]+/, "0x...", what)
	gsub(/ in loss record .*/, "", what)
	text = text "  " what "\n"
}
inside && /<frame>/ { obj = fn = file = number = "" }
inside && /<obj>/ {
	obj = inner($0)
	if (obj ~ /\/(hallway\.so|libnghttp2\.so[^\/]*|libprotobuf-c\.so[^\/]*)$/)
		ours = 1
}
inside && /<fn>/ { fn = inner($0) }
inside && /<file>/ { file = inner($0) }
inside && /<line>/ { number = inner($0) }
inside && /<\/frame>/ {
	sub(/.*\//, "", obj)
	text = text "    " (fn == "" ? "?" : fn) (file == "" ? "" : " " file ":" number) " (" obj ")\n"
}
/<\/error>/ {
	inside = 0
	report = kind "\n" text
	if (ours) {
		if (!(report in ours_seen))
			ours_order[++ours_reports] = report
		ours_seen[report]++
	} else {
		if (!(report in other_seen))
			other_order[++other_reports] = report
		other_seen[report]++
	}
}

# Suppressed ones, by the name of the entry.
/<suppcounts>/ { counts = 1 }
/<\/suppcounts>/ { counts = 0 }
counts && /<count>/ { count = inner($0) }
counts && /<name>/ { suppressed += count }

END {
	for (i = 1; i <= other_reports; i++)
		printf "PostgreSQL's own, in %d processes: %s\n", other_seen[other_order[i]], other_order[i]
	for (i = 1; i <= ours_reports; i++)
		printf "THE SHIM'S, in %d processes: %s\n", ours_seen[ours_order[i]], ours_order[i]
	printf "valgrind: %d processes, %d ended as they should; reports of the shim or its libraries: %d, of PostgreSQL alone: %d (suppressed as known: %d)\n", \
		processes, finished, ours_reports, other_reports, suppressed
	if (crashed > 0)
		printf "valgrind: %d processes were ended by a signal\n", crashed
	exit processes == 0 || finished < processes || ours_reports > 0
}
