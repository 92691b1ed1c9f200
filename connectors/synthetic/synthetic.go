// Package synthetic is a connector without an API: it makes rows up, or keeps
// them in memory, for tests and benchmarks. The rows of an object are a
// function of its seed and the row number, so that two scans agree; knobs make
// it as slow, broken or forgetful as APIs are.
//
// This file is the connector and its options; table.go binds and plans,
// scan.go scans, generate.go makes values up, store.go keeps what was inserted
// and modify.go changes it.
package synthetic

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hallwaydb/hallway/connectors"
)

// Name of the connector, and of the API in its errors.
const (
	Name    = "synthetic"
	apiName = "Synthetic"
)

// Connector keeps the stores, which live as long as it does and are shared by
// all servers.
type Connector struct {
	mu     sync.Mutex
	stores map[string]*store
}

// New makes a connector without stores.
func New() *Connector { return &Connector{stores: make(map[string]*store)} }

// Name is "synthetic".
func (c *Connector) Name() string { return Name }

// Options of a server are defaults for its tables.
func (c *Connector) Options() []connectors.OptionSpec {
	var list []connectors.OptionSpec
	for _, k := range knobs() {
		list = append(list, connectors.OptionSpec{Name: k.name, Where: connectors.OnServer, Default: k.def, Help: k.help})
	}
	for _, k := range knobs() {
		list = append(list, connectors.OptionSpec{Name: k.name, Where: connectors.OnTable,
			Help: "As the server's option, which is the default."})
	}
	return append(list,
		connectors.OptionSpec{Name: "token", Where: connectors.OnUserMapping, Secret: true,
			Help: "Looked at by nobody; for tests of where a credential shows up."},
		connectors.OptionSpec{Name: "store", Where: connectors.OnTable,
			Help: "Name of the writable object in memory that the table shows instead of generated rows; tables that name the same store share it until the sidecar stops."},
		connectors.OptionSpec{Name: "generator", Where: connectors.OnColumn,
			Help: "What fills the column: sequence (the row number), typical or extreme; by default the table's option values, and sequence for the key."},
		connectors.OptionSpec{Name: "distinct", Where: connectors.OnColumn, Default: "0",
			Help: "Number of distinct values that are generated; 0: as many as the type allows."},
		connectors.OptionSpec{Name: "nulls", Where: connectors.OnColumn, Default: "0",
			Help: "Share of rows in which the column is NULL, from 0 to 1; by default the table's option nulls."},
		connectors.OptionSpec{Name: "computed", Where: connectors.OnColumn,
			Help: "Who fills the column of a store on INSERT: sequence, now, modified (the time, at UPDATE too) or uuid; such a column cannot be written."},
		connectors.OptionSpec{Name: "required", Where: connectors.OnColumn, Default: "false",
			Help: "Whether the store refuses NULL and a missing value (23502)."},
		connectors.OptionSpec{Name: "unique", Where: connectors.OnColumn, Default: "false",
			Help: "Whether the store refuses a value that another row has (23505)."},
		connectors.OptionSpec{Name: "check", Where: connectors.OnColumn,
			Help: "What the store accepts: email (text with an @ within, else 23514), positive (numbers above zero, else 23514) or max:N (text of at most N characters, else 22001)."},
		connectors.OptionSpec{Name: "default", Where: connectors.OnColumn,
			Help: "Value, as text, that the store gives the column when an INSERT does not name it."},
	)
}

// settings are a table's knobs.
type settings struct {
	rows, pageRows           int64
	seed                     uint64
	width                    int
	latency, lag             time.Duration
	errorAt, hangAt, panicAt int64
	errorClass               connectors.Class
	writeError               connectors.Class // if writesFail
	writesFail               bool
	ignoreFilters            bool
	groups                   int64 // most of one scan; 0: it makes none
	batchRows                int64 // of one call that writes
	upsert, idempotent       bool
	atomic                   bool
	hangWrite                hangPoint
	hangOnce                 bool
	pushdown                 mode
	nulls                    float64
	values                   string
}

// hangPoint is where a write gets no answer.
type hangPoint uint8

const (
	hangNever hangPoint = iota
	hangBefore
	hangApplied
)

// mode is what is claimed of pushed filters.
type mode uint8

const (
	modeExact mode = iota
	modeSuperset
	modeNone
)

// knob is an option of servers and tables.
type knob struct {
	name, def, help string
	set             func(s *settings, v string) error
}

func knobs() []knob {
	return []knob{
		{"rows", "1000", "Rows of the generated object.", func(s *settings, v string) error {
			return setInt(&s.rows, v, 0, 1<<40)
		}},
		{"seed", "1", "Seed of the generated values, a whole number from 0.", func(s *settings, v string) error {
			var n int64
			err := setInt(&n, v, 0, 1<<62)
			s.seed = uint64(n)
			return err
		}},
		{"width", "0", "Least length in bytes of generated text; 0: as it comes. At most 16 MiB.", func(s *settings, v string) error {
			var n int64
			err := setInt(&n, v, 0, 16<<20)
			s.width = int(n)
			return err
		}},
		{"page_rows", "1000", "Rows of one page.", func(s *settings, v string) error {
			return setInt(&s.pageRows, v, 1, 1<<40)
		}},
		{"latency", "0", "Time that each page and each call that writes takes, as '5ms'.", func(s *settings, v string) error {
			return setDuration(&s.latency, v)
		}},
		{"lag", "0", "How long scans, those by key too, do not show what was written to a store, as '2s'.", func(s *settings, v string) error {
			return setDuration(&s.lag, v)
		}},
		{"error_at_page", "0", "Number of the page, from 1, that fails instead of being sent; 0: none.", func(s *settings, v string) error {
			return setInt(&s.errorAt, v, 0, 1<<40)
		}},
		{"error", "unavailable", "Kind of that failure: " + strings.Join(classNames(), ", ") + ".", func(s *settings, v string) error {
			class, ok := classes()[v]
			if !ok {
				return fmt.Errorf("it must be one of %s", strings.Join(classNames(), ", "))
			}
			s.errorClass = class
			return nil
		}},
		{"write_error", "none", "Kind of failure of every write of a store: none, unknown_outcome (the rows are written and the answer is lost), or a kind of the option error.", func(s *settings, v string) error {
			class, ok := classes()[v]
			if v == "unknown_outcome" {
				class, ok = connectors.UnknownOutcome, true
			}
			if !ok && v != "none" {
				return fmt.Errorf("it must be none, unknown_outcome or one of %s", strings.Join(classNames(), ", "))
			}
			s.writeError, s.writesFail = class, ok
			return nil
		}},
		{"hang_at", "none", "When a write of a store hangs until its caller gives up: none; before (nothing is written); applied (it is, and the answer never comes).", func(s *settings, v string) error {
			switch v {
			case "none":
				s.hangWrite = hangNever
			case "before":
				s.hangWrite = hangBefore
			case "applied":
				s.hangWrite = hangApplied
			default:
				return fmt.Errorf("it must be none, before or applied")
			}
			return nil
		}},
		{"hang_times", "always", "How often that happens: once (to the store, until hang_at is another), or always.", func(s *settings, v string) error {
			if v != "once" && v != "always" {
				return fmt.Errorf("it must be once or always")
			}
			s.hangOnce = v == "once"
			return nil
		}},
		{"batch_rows", "1", "Rows that a store writes by one call.", func(s *settings, v string) error {
			return setInt(&s.batchRows, v, 1, 100_000)
		}},
		{"atomic", "false", "Whether a store writes all rows of a call or, if it refuses one, none.", func(s *settings, v string) error {
			return setBool(&s.atomic, v)
		}},
		{"upsert", "false", "Whether a store can upsert, by its key or a unique column.", func(s *settings, v string) error {
			return setBool(&s.upsert, v)
		}},
		{"idempotent", "false", "Whether a store answers a write that is sent again under its idempotency key as it did first, and does it once.", func(s *settings, v string) error {
			return setBool(&s.idempotent, v)
		}},
		{"hang_at_page", "0", "Number of the page, from 1, that never comes; 0: none.", func(s *settings, v string) error {
			return setInt(&s.hangAt, v, 0, 1<<40)
		}},
		{"panic_at_page", "0", "Number of the page, from 1, at which the connector panics; 0: none.", func(s *settings, v string) error {
			return setInt(&s.panicAt, v, 0, 1<<40)
		}},
		{"ignore_filters", "false", "Whether filters are taken, called a superset, and ignored, as many APIs do.", func(s *settings, v string) error {
			return setBool(&s.ignoreFilters, v)
		}},
		{"groups", "0", "Most groups that the object makes of its rows itself, for aggregates, where pushdown is exact; 0: it makes none.", func(s *settings, v string) error {
			return setInt(&s.groups, v, 0, 1<<40)
		}},
		{"pushdown", "exact", "What is done with filters and orders: exact; superset (some rows more come than match); none.", func(s *settings, v string) error {
			switch v {
			case "exact":
				s.pushdown = modeExact
			case "superset":
				s.pushdown = modeSuperset
			case "none":
				s.pushdown = modeNone
			default:
				return fmt.Errorf("it must be exact, superset or none")
			}
			return nil
		}},
		{"nulls", "0", "Share of NULLs in generated columns that are neither key nor NOT NULL, from 0 to 1.", func(s *settings, v string) error {
			return setFraction(&s.nulls, v)
		}},
		{"values", "typical", "What generated values are like: typical, or extreme (bounds, infinities, Unicode, empty strings).", func(s *settings, v string) error {
			if v != "typical" && v != "extreme" {
				return fmt.Errorf("it must be typical or extreme")
			}
			s.values = v
			return nil
		}},
	}
}

// classes are the failures that the option "error" can name.
func classes() map[string]connectors.Class {
	return map[string]connectors.Class{
		"unavailable": connectors.Unavailable, "rate_limited": connectors.RateLimited,
		"unauthenticated": connectors.Unauthenticated, "permission_denied": connectors.PermissionDenied,
		"not_found": connectors.NotFoundError, "protocol": connectors.Protocol,
		"invalid_value": connectors.InvalidValue, "limit_exceeded": connectors.LimitExceeded,
		"internal": connectors.Internal, "locked": connectors.Locked,
	}
}

func classNames() []string { return slices.Sorted(maps.Keys(classes())) }

func setInt(p *int64, v string, low, high int64) error {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < low || n > high {
		return fmt.Errorf("it must be a whole number from %d to %d", low, high)
	}
	*p = n
	return nil
}

func setDuration(p *time.Duration, v string) error {
	d, err := time.ParseDuration(v)
	if v == "0" {
		err = nil
	}
	if err != nil || d < 0 || d > time.Hour {
		return fmt.Errorf("it must be a duration such as '5ms' of at most an hour")
	}
	*p = d
	return nil
}

func setBool(p *bool, v string) error {
	switch strings.ToLower(v) {
	case "true", "on", "yes", "1":
		*p = true
	case "false", "off", "no", "0":
		*p = false
	default:
		return fmt.Errorf("it must be true or false")
	}
	return nil
}

func setFraction(p *float64, v string) error {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return fmt.Errorf("it must be a number from 0 to 1")
	}
	*p = f
	return nil
}

// read applies the defaults, then each of the option sets.
func readSettings(sets ...map[string]string) (settings, error) {
	var s settings
	for _, k := range knobs() {
		v := k.def
		for _, set := range sets {
			if given, ok := set[k.name]; ok {
				v = given
			}
		}
		if err := k.set(&s, v); err != nil {
			return s, badOption(k.name, v, err)
		}
	}
	return s, nil
}

func badOption(name, value string, err error) error {
	return &connectors.Error{Class: connectors.InvalidOptionValue,
		Message: fmt.Sprintf("invalid value %q of option %q", value, name), Detail: sentence(err.Error())}
}

// sentence makes a clause a sentence.
func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }

// Open checks the server's options; there is nothing to connect to.
func (c *Connector) Open(_ context.Context, _ connectors.Env, server connectors.ServerSpec) (connectors.Source, error) {
	if err := connectors.CheckOptions(c.Options(), connectors.OnServer, "", server.Options); err != nil {
		return nil, err
	}
	if err := connectors.CheckOptions(c.Options(), connectors.OnUserMapping, "", server.Credential); err != nil {
		return nil, err
	}
	if _, err := readSettings(server.Options); err != nil {
		return nil, err
	}
	return &source{c: c, options: maps.Clone(server.Options)}, nil
}

// source is a server: its tables' default options.
type source struct {
	c       *Connector
	options map[string]string
}

// Close has nothing to release.
func (s *source) Close() error { return nil }
