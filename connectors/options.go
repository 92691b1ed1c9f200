package connectors

// Options: what a connector says it takes, and the check that all connectors
// share.

import (
	"fmt"
	"slices"
	"strings"
)

// Where an option stands.
type Where uint8

// The places of options.
const (
	OnServer Where = iota + 1
	OnUserMapping
	OnTable
	OnColumn
	OnImport
)

// String names the place for messages: "server", "user mapping", ...
func (w Where) String() string {
	switch w {
	case OnServer:
		return "server"
	case OnUserMapping:
		return "user mapping"
	case OnTable:
		return "table"
	case OnColumn:
		return "column"
	case OnImport:
		return "import"
	}
	return fmt.Sprintf("Where(%d)", uint8(w))
}

// OptionSpec describes one option, for validation and for the generated docs.
type OptionSpec struct {
	Name  string
	Where Where
	// Required: leaving it out is an error.
	Required bool
	// Secret: never shown; may be given as a reference to the secret store.
	Secret bool
	// Default as a user would write it; empty: none.
	Default string
	// Help is one sentence that gives units and bounds.
	Help string
}

// CommonOptions are those that every connector has or that Hallway itself
// reads; a connector need not name them in Connector.Options.
func CommonOptions() []OptionSpec {
	return []OptionSpec{
		{Name: "connector", Where: OnServer, Required: true, Help: "Which connector of the sidecar speaks to the API."},
		{Name: "address", Where: OnServer, Help: "Socket of the sidecar; by default the setting hallway.address."},
		{Name: "updatable", Where: OnServer, Default: "true", Help: "Whether INSERT, UPDATE and DELETE may be tried; the default of its tables."},
		{Name: "updatable", Where: OnTable, Help: "Whether INSERT, UPDATE and DELETE may be tried; by default what the server says."},
		{Name: "async_capable", Where: OnServer, Default: "true", Help: "Whether scans below one Append run at the same time; the default of its tables."},
		{Name: "async_capable", Where: OnTable, Help: "Whether scans below one Append run at the same time; by default what the server says."},
		{Name: "cache", Where: OnServer, Default: "read_through", Help: "How rows are kept in local tables: off, read_through (what was read serves again until it is max_age old) or replica (all rows, refreshed in the background); the default of its tables."},
		{Name: "cache", Where: OnTable, Help: "off, read_through or replica; by default what the server says."},
		{Name: "max_age", Where: OnServer, Default: "60s", Help: "How old kept rows may be before the API is read again, with a unit: ms, s, min, h or d. The setting hallway.max_age wins."},
		{Name: "max_age", Where: OnTable, Help: "How old kept rows may be; by default what the server says."},
		{Name: "refresh_every", Where: OnServer, Default: "5min", Help: "How often a replica asks the API for changes."},
		{Name: "refresh_every", Where: OnTable, Help: "How often a replica asks the API for changes; by default what the server says."},
		{Name: "stale_while_error", Where: OnServer, Default: "0", Help: "How old kept rows may be to serve, with a warning, when the API cannot be reached; 0: the error is an error."},
		{Name: "stale_while_error", Where: OnTable, Help: "How old kept rows may be to serve when the API cannot be reached; by default what the server says."},
		{Name: "sync_as", Where: OnServer, Help: "The role whose credential fills a replica; by default the table's owner. Only members of the role can set it."},
		{Name: "sync_as", Where: OnTable, Help: "The role whose credential fills a replica; by default what the server says, else the table's owner."},
		{Name: "compare_every", Where: OnServer, Help: "How often a replica compares keys with the API (reads all rows, where a log tells of changes), which shows what was deleted there, and what its list of changes left out. By default at each refresh, and once a day where the API tells what was deleted; otherwise, the rows do not count as newer in between."},
		{Name: "compare_every", Where: OnTable, Help: "How often a replica compares keys with the API; by default what the server says."},
		{Name: "sync_overlap", Where: OnServer, Default: "2min", Help: "How far before the last change seen a replica asks for changes again: more than clocks differ, and than a change may show after its time."},
		{Name: "sync_overlap", Where: OnTable, Help: "How far before the last change seen a replica asks for changes again; by default what the server says."},
		{Name: "webhook_secret", Where: OnServer, Help: "Name, in the sidecar's secret store, of the key that signs webhook deliveries for a replica; by default there are none."},
		{Name: "webhook_secret", Where: OnTable, Help: "Name of the key that signs webhook deliveries; by default what the server says."},
		{Name: "update_reads", Where: OnServer, Default: "live", Help: "Where the rows that feed a write are read: live (the API) or cache."},
		{Name: "update_reads", Where: OnTable, Help: "Where the rows that feed a write are read: live or cache; by default what the server says."},
		{Name: "cache_scope", Where: OnServer, Default: "credential", Help: "Who may see the same rows: credential (each user mapping sees its own) or server (all see the same; allows ANALYZE)."},
		{Name: "cache_scope", Where: OnTable, Help: "Who may see the same rows: credential or server; by default what the server says."},
		{Name: "on_rollback", Where: OnServer, Default: "keep", Help: "What a ROLLBACK does about rows that are written in the API already: keep (a WARNING says so) or compensate (they are undone there). The setting hallway.on_rollback wins."},
		{Name: "on_rollback", Where: OnTable, Help: "keep or compensate; by default what the server says."},
		{Name: "write_at", Where: OnServer, Default: "statement", Help: "When the API is called: statement (at once), commit (just before the transaction commits; no RETURNING) or after_commit (when it has, in the background, with retries; no RETURNING). The setting hallway.write_at wins."},
		{Name: "write_at", Where: OnTable, Help: "statement, commit or after_commit; by default what the server says."},
		{Name: "journal", Where: OnServer, Default: "true", Help: "Whether each write is noted in hallway.write_log before the API is called."},
		{Name: "journal", Where: OnTable, Help: "Whether each write is noted in hallway.write_log; by default what the server says."},
		{Name: "journal_values", Where: OnServer, Default: "true", Help: "Whether the journal may hold values of rows, where undoing or delivering them needs it. Without, updates and deletes cannot be compensated, and write_at cannot be after_commit."},
		{Name: "journal_values", Where: OnTable, Help: "Whether the journal may hold values of rows; by default what the server says."},
		{Name: "batch_size", Where: OnServer, Help: "Most rows in one write, from 1 (each row by itself) to 100000; by default what the API takes at once."},
		{Name: "batch_size", Where: OnTable, Help: "Most rows in one write, from 1 to 100000; by default what the server says, else what the API takes at once."},
		{Name: "upsert_key", Where: OnTable, Help: "Columns, separated by commas, by which every INSERT finds a row that is there already, and updates it; by default INSERT inserts."},
		{Name: "delete_sets", Where: OnTable, Help: "A column and a value, as archived=true: DELETE sets it and deletes nothing. By default rows are deleted."},
		{Name: "authorization", Where: OnUserMapping, Help: "Name under which hallway auth keeps what a person has granted (OAuth2). Only superusers may set it."},
		{Name: "estimated_rows", Where: OnTable, Help: "Rows the planner reckons with when the API does not say."},
		{Name: "object", Where: OnTable, Help: "The object of the API that the table shows; by default the table's name."},
		{Name: "field", Where: OnColumn, Help: "The object's field that the column shows; by default the column's name."},
		{Name: "key", Where: OnColumn, Default: "false", Help: "Whether the column is part of what identifies a row."},
	}
}

// CheckOptions checks the names of the options given in one place against
// specs and CommonOptions, and that the required ones are there. The error is
// an *Error of class InvalidOption whose hint names the nearest valid option
// and lists all of them; values never appear in it. on says whose options they
// are, as `table "contacts"`; empty: only the place is said.
func CheckOptions(specs []OptionSpec, where Where, on string, given map[string]string) error {
	if on == "" {
		on = "a " + where.String()
		if where == OnImport {
			on = "an import"
		}
	}
	var valid []string
	known := make(map[string]bool)
	for _, list := range [2][]OptionSpec{specs, CommonOptions()} {
		for _, s := range list {
			if s.Where == where && !known[s.Name] {
				known[s.Name] = true
				valid = append(valid, s.Name)
			}
		}
	}
	slices.Sort(valid)
	names := make([]string, 0, len(given))
	for n := range given {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if known[n] {
			continue
		}
		hint := ""
		if near := Nearest(n, valid); near != "" {
			hint = fmt.Sprintf("Perhaps you meant the option %q. ", near)
		}
		if len(valid) == 0 {
			hint += fmt.Sprintf("There are no options for %s.", on)
		} else {
			hint += fmt.Sprintf("Valid options for %s: %s.", on, strings.Join(valid, ", "))
		}
		return &Error{Class: InvalidOption, Message: fmt.Sprintf("invalid option %q for %s", n, on), Hint: hint}
	}
	for _, s := range specs {
		if _, ok := given[s.Name]; !ok && s.Where == where && s.Required {
			return &Error{Class: InvalidOption,
				Message: fmt.Sprintf("option %q is required for %s", s.Name, on), Hint: s.Help}
		}
	}
	return nil
}

// Nearest returns the name among valid that is most like name, or "" if none
// is near: at most one edit in four characters, and at least one allowed.
func Nearest(name string, valid []string) string {
	best, bestDist := "", len(name)/4+2
	if len(name) < 3 {
		bestDist = 2
	}
	for _, v := range valid {
		if d := editDistance(strings.ToLower(name), strings.ToLower(v), bestDist); d < bestDist {
			best, bestDist = v, d
		}
	}
	return best
}

// editDistance counts insertions, deletions, replacements and swaps of
// neighbours, in bytes; at least limit is returned as limit.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return min(prev[len(b)], limit)
}
