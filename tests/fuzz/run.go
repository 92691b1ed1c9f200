// Running a query on a target and on the local copy, and comparing.

package fuzz

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hallwaydb/hallway/tests/harness"
)

// target is where a query is run besides the local copy.
type target struct {
	name string
	// tables for {A} and {B}.
	a, b string
}

// protocol is how a query is sent.
type protocol int

const (
	simple protocol = iota
	extended
	preparedCustom
	preparedGeneric
	// preparedAuto executes often enough for PostgreSQL to choose for itself.
	preparedAuto
)

func (p protocol) String() string {
	return [...]string{"simple", "extended", "prepared, custom plan", "prepared, generic plan", "prepared, 7 times"}[p]
}

// variant is one way to run a query on a target.
type variant struct {
	target   target
	tables   map[string]string
	protocol protocol
	settings []string
}

func (v variant) String() string {
	s := fmt.Sprintf("%s, %s", v.target.name, v.protocol)
	if len(v.settings) > 0 {
		s += ", " + strings.Join(v.settings, ", ")
	}
	return s
}

// fuzzer holds the session and the names of the local copy.
type fuzzer struct {
	conn  *pgconn.PgConn
	local map[string]string
	// or are other copies whose answer is as good; nil: there is one answer.
	or []map[string]string
	// other counts the answers that were those of another copy.
	other int
	seq   int
	// aggregated counts plain aggregations of a foreign table, pushed those that
	// its API makes.
	aggregated, pushed int
	// answered is called after each query that was answered as it should be; nil:
	// nobody wants to know.
	answered func(*Query, variant)
	// timeout of one statement.
	timeout time.Duration
}

// planner settings that lead to other plans.
var plannerSettings = []string{
	"enable_hashjoin = off", "enable_mergejoin = off", "enable_nestloop = off", "enable_material = off",
	"enable_memoize = off", "enable_hashagg = off", "enable_sort = off", "enable_incremental_sort = off",
	"TimeZone = 'America/New_York'", "TimeZone = 'Asia/Kathmandu'", "DateStyle = 'ISO, DMY'",
	"enable_async_append = off", "from_collapse_limit = 1",
}

func randomVariant(rng *rand.Rand, t target, local map[string]string) variant {
	v := variant{target: t, protocol: protocol(rng.IntN(4))}
	if rng.IntN(25) == 0 {
		v.protocol = preparedAuto
	}
	switch rng.IntN(6) {
	case 0:
		v.tables = map[string]string{"A": t.a, "B": local["B"]}
	case 1:
		v.tables = map[string]string{"A": local["A"], "B": t.b}
	default:
		v.tables = map[string]string{"A": t.a, "B": t.b}
	}
	for range rng.IntN(4) - 1 {
		v.settings = append(v.settings, plannerSettings[rng.IntN(len(plannerSettings))])
	}
	return v
}

// run executes a query and gives the last execution's result. All executions
// of a prepared statement must agree.
func (f *fuzzer) run(ctx context.Context, q *Query, v variant) (harness.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout+5*time.Second)
	defer cancel()
	if v.protocol == simple {
		return harness.Simple(ctx, f.conn, q.Render(v.tables, nil))
	}
	var lits []Lit
	sql := q.Render(v.tables, &lits)
	params := make([]harness.Param, len(lits))
	for i, l := range lits {
		params[i] = harness.Param{Text: l.Text, Null: l.Null}
	}
	if v.protocol == extended {
		return harness.Extended(ctx, f.conn, sql, params)
	}
	f.seq++
	name := fmt.Sprintf("q%d", f.seq)
	if _, err := f.conn.Prepare(ctx, name, sql, nil); err != nil {
		return harness.Result{}, err
	}
	defer func() { _ = f.conn.Deallocate(context.WithoutCancel(ctx), name) }()
	times := 2
	if v.protocol == preparedAuto {
		times = 7
	}
	var res harness.Result
	for i := range times {
		r, err := harness.Prepared(ctx, f.conn, name, params)
		if err != nil {
			return r, err
		}
		if i > 0 && ((q.limit == nil && q.offset == nil) || q.total) {
			if diff := compare(q, res, r, nil); diff != "" {
				return r, fmt.Errorf("execution %d differs from the one before: %s", i+1, diff)
			}
		}
		res = r
	}
	return res, nil
}

// mode of plan_cache_mode for a protocol.
func (p protocol) planCache() string {
	switch p {
	case preparedGeneric:
		return "force_generic_plan"
	case preparedCustom:
		return "force_custom_plan"
	}
	return "auto"
}

// set makes a variant's settings, until leave is called.
func (f *fuzzer) set(ctx context.Context, v variant) (leave func(), err error) {
	set := "SET plan_cache_mode = " + v.protocol.planCache()
	for _, s := range v.settings {
		set += "; SET " + s
	}
	if _, err := harness.Simple(ctx, f.conn, set); err != nil {
		return nil, fmt.Errorf("setting the stage: %w", err)
	}
	return func() { _, _ = harness.Simple(ctx, f.conn, "RESET ALL") }, nil
}

// check runs a query both ways and says how they differ; empty: they do not.
// The error is for what is wrong with the test itself.
func (f *fuzzer) check(ctx context.Context, q *Query, v variant) (string, error) {
	leave, err := f.set(ctx, v)
	if err != nil {
		return "", err
	}
	defer leave()

	have, haveErr := f.run(ctx, q, v)
	if haveErr != nil && f.conn.IsClosed() {
		return "", fmt.Errorf("the session is lost: %w\n%s", haveErr, q.Render(v.tables, nil))
	}
	diff, err := f.against(ctx, q, f.local, have, haveErr)
	for _, local := range f.or {
		if diff == "" || err != nil {
			break
		}
		// What the query itself reads locally has one version only.
		if ownCopy := func(k string) bool { return v.tables[k] == f.local[k] && local[k] != f.local[k] }; ownCopy("A") || ownCopy("B") {
			continue
		}
		if d, err := f.against(ctx, q, local, have, haveErr); err != nil || d == "" {
			f.other++
			return d, err
		}
	}
	return diff, err
}

// against compares a result, or an error, with what the query gives on local
// tables.
func (f *fuzzer) against(ctx context.Context, q *Query, local map[string]string, have harness.Result, haveErr error) (string, error) {
	want, wantErr := harness.Simple(ctx, f.conn, q.Render(local, nil))
	var pg *pgconn.PgError
	if wantErr != nil && !errors.As(wantErr, &pg) {
		return "", fmt.Errorf("running the query locally: %w", wantErr)
	}
	switch {
	case haveErr != nil && wantErr == nil:
		return "fails here, not locally: " + harness.Describe(haveErr), nil
	case haveErr != nil:
		h, w := harness.SQLState(haveErr), harness.SQLState(wantErr)
		if len(h) < 2 || h[:2] != w[:2] {
			return fmt.Sprintf("fails with %s, locally with %s", harness.Describe(haveErr), harness.Describe(wantErr)), nil
		}
		return "", nil
	case wantErr != nil:
		// Rows that PostgreSQL stumbled over locally may never have come: an
		// order of evaluation is not promised. What is not an accident of the
		// data is an error everywhere.
		if c := harness.SQLState(wantErr); c[:2] == "42" {
			return "works here, fails locally: " + harness.Describe(wantErr), nil
		}
		return "", nil
	}
	var whole *harness.Result
	if (q.limit != nil || q.offset != nil) && !q.total {
		w, err := harness.Simple(ctx, f.conn, q.whole().Render(local, nil))
		if err != nil {
			return "", nil //nolint:nilerr // LIMIT hid a row that cannot be evaluated
		}
		whole = &w
	}
	return compare(q, want, have, whole), nil
}

// compare says how two results of a query differ: row by row if its order is
// total, else as bags. whole is the result without LIMIT and OFFSET, of which
// any rows will do; nil if there is none.
func compare(q *Query, want, have harness.Result, whole *harness.Result) string {
	if len(want.Rows) != len(have.Rows) {
		return fmt.Sprintf("%d rows, locally %d\n%s", len(have.Rows), len(want.Rows), bagDiff(want.Rows, have.Rows))
	}
	if q.total {
		for i := range want.Rows {
			if !sameRow(want.Rows[i], have.Rows[i]) {
				return fmt.Sprintf("row %d is %s, locally %s", i+1, have.Rows[i], want.Rows[i])
			}
		}
		return ""
	}
	if q.keys > 0 {
		for i := range want.Rows {
			w, h := want.Rows[i], have.Rows[i]
			if !sameRow(w[len(w)-q.keys:], h[len(h)-q.keys:]) {
				return fmt.Sprintf("the sort keys of row %d are %s, locally %s", i+1, h[len(h)-q.keys:], w[len(w)-q.keys:])
			}
		}
	}
	if whole != nil {
		if extra := missing(have.Rows, whole.Rows); len(extra) > 0 {
			return fmt.Sprintf("%d rows that are not in the whole result, such as %s", len(extra), extra[0])
		}
		return ""
	}
	return bagDiff(want.Rows, have.Rows)
}

// stands are values that are equal to SQL although their texts differ; which of
// them stands for a group is left open.
var stands = map[string]string{"-0": "0", "30 days": "1 mon", "24:00:00": "1 day"}

func stand(s string) string {
	if x, ok := stands[s]; ok {
		return x
	}
	return s
}

func sameRow(a, b harness.Row) bool {
	return slices.EqualFunc(a, b, func(x, y string) bool { return stand(x) == stand(y) })
}

// missing gives the rows of a that b has not, as bags.
func missing(a, b []harness.Row) []harness.Row {
	key := func(r harness.Row) string {
		k := make(harness.Row, len(r))
		for i, v := range r {
			k[i] = stand(v)
		}
		return k.String()
	}
	have := map[string]int{}
	for _, r := range b {
		have[key(r)]++
	}
	var out []harness.Row
	for _, r := range a {
		k := key(r)
		if have[k] == 0 {
			out = append(out, r)
		} else {
			have[k]--
		}
	}
	return out
}

func bagDiff(want, have []harness.Row) string {
	lost, extra := missing(want, have), missing(have, want)
	if len(lost) == 0 && len(extra) == 0 {
		return ""
	}
	show := func(rows []harness.Row) string {
		var b strings.Builder
		for i, r := range rows {
			if i == 5 {
				fmt.Fprintf(&b, "\n    … %d more", len(rows)-i)
				break
			}
			b.WriteString("\n    " + clip(r.String(), 300))
		}
		return b.String()
	}
	return fmt.Sprintf("rows lost: %d%s\n  rows too many: %d%s", len(lost), show(lost), len(extra), show(extra))
}

// shrink makes a failing query as small as it can and still fail, and gives it
// with its difference.
func (f *fuzzer) shrink(ctx context.Context, q *Query, v variant, diff string) (*Query, variant, string) {
	fails := func(q *Query, v variant) bool {
		d, err := f.check(ctx, q, v)
		if err != nil || d == "" {
			return false
		}
		diff = d
		return true
	}
	if len(v.settings) > 0 {
		plain := v
		plain.settings = nil
		if fails(q, plain) {
			v = plain
		}
	}
	if v.protocol != simple {
		plain := v
		plain.protocol = simple
		if fails(q, plain) {
			v = plain
		}
	}
	for tries := 0; tries < 300; {
		smaller := q.smaller()
		i := slices.IndexFunc(smaller, func(s *Query) bool { tries++; return fails(s, v) })
		if i < 0 {
			break
		}
		q = smaller[i]
	}
	return q, v, diff
}

func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + " …"
	}
	return s
}
