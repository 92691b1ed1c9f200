package journal_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// person is one session and what the API is to hold of its rows.
type person struct {
	t    *testing.T
	c    *harness.Conn
	r    *rand.Rand
	name string
	undo bool // on_rollback 'compensate'

	next int
	// rows by email: their n. One state for each open part of the transaction.
	states []map[string]int
	// counts of applied rows in each open part, and of what became of all.
	applied             []int
	rolledBack, refused int
}

func (p *person) now() map[string]int { return p.states[len(p.states)-1] }

// begin, roll back and release a part of a transaction.
func (p *person) push() {
	p.states = append(p.states, maps.Clone(p.now()))
	p.applied = append(p.applied, 0)
}

func (p *person) pop(back bool) {
	last := len(p.states) - 1
	state, applied := p.states[last], p.applied[last]
	p.states, p.applied = p.states[:last], p.applied[:last]
	if back {
		p.rolledBack += applied
		if !p.undo {
			p.states[last-1] = state
		}
		return
	}
	p.states[last-1] = state
	p.applied[last-1] += applied
}

func (p *person) email() string {
	p.next++
	return fmt.Sprintf("%s%d", p.name, p.next)
}

// some emails that are there.
func (p *person) some() []string {
	all := slices.Sorted(maps.Keys(p.now()))
	p.r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(len(all), 1+p.r.IntN(4))]
}

func list(emails []string) string { return "('" + strings.Join(emails, "', '") + "')" }

// write does one statement; false: it failed, as it was to.
func (p *person) write() bool {
	state := p.now()
	do := func(sql string, code string) bool {
		p.t.Helper()
		_, err := p.c.Try("%s", sql)
		require.Equal(p.t, code, harness.SQLState(err), "%s: %v", sql, err)
		return err == nil
	}
	top := len(p.applied) - 1
	emails := p.some()
	switch p.r.IntN(8) {
	case 0, 1, 2:
		var values []string
		for range 1 + p.r.IntN(4) {
			e, n := p.email(), p.r.IntN(100)
			values = append(values, fmt.Sprintf("('%s', %d)", e, n))
			state[e] = n
			p.applied[top]++
		}
		return do("INSERT INTO items (email, n) VALUES "+strings.Join(values, ", "), "")
	case 3, 4:
		if len(emails) == 0 {
			return true
		}
		for _, e := range emails {
			state[e]++
			p.applied[top]++
		}
		return do("UPDATE items SET n = n + 1 WHERE email IN "+list(emails), "")
	case 5:
		if len(emails) == 0 {
			return true
		}
		for _, e := range emails {
			delete(state, e)
			p.applied[top]++
		}
		return do("DELETE FROM items WHERE email IN "+list(emails), "")
	case 6:
		// One of the rows is refused, those beside it are not.
		if len(emails) == 0 {
			return true
		}
		e := p.email()
		state[e] = 1
		p.applied[top]++
		p.refused++
		return do(fmt.Sprintf("INSERT INTO items (email, n) VALUES ('%s', 1), ('%s', 2)", e, emails[0]), "23505")
	default:
		return do("SELECT 1 / 0", "22012")
	}
}

// part is a transaction, or a part of one.
func (p *person) part(depth int) {
	p.t.Helper()
	begin, end, back := "BEGIN", "COMMIT", "ROLLBACK"
	if depth > 0 {
		name := "s" + strconv.Itoa(depth)
		begin, end, back = "SAVEPOINT "+name, "RELEASE "+name, "ROLLBACK TO "+name
	}
	p.c.Exec("%s", begin)
	p.push()
	for range p.r.IntN(5) {
		if depth < 3 && p.r.IntN(4) == 0 {
			p.part(depth + 1)
			continue
		}
		if !p.write() {
			p.c.Exec("%s", back)
			p.pop(true)
			return
		}
	}
	if p.r.IntN(3) == 0 {
		p.c.Exec("%s", back)
		p.pop(true)
		return
	}
	p.c.Exec("%s", end)
	p.pop(false)
}

// Random transactions of several sessions, whose rows the API holds afterwards as
// the model says, and whose entries add up.
func TestRandom_TransactionsAndTheirRows(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("HALLWAY_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	for _, undo := range []bool{false, true} {
		t.Run(map[bool]string{false: "keep", true: "compensate"}[undo], func(t *testing.T) {
			t.Logf("HALLWAY_SEED=%d", seed)
			w := newWorld(t)
			admin := w.db.Connect(t)
			admin.Exec("ALTER FOREIGN TABLE items OPTIONS (batch_rows '10')")
			if undo {
				admin.Exec("ALTER FOREIGN TABLE items OPTIONS (on_rollback 'compensate')")
			}
			people := make([]*person, 3)
			var wait sync.WaitGroup
			for i := range people {
				p := &person{t: t, c: w.db.Connect(t), r: rand.New(rand.NewPCG(seed, uint64(i))), name: string(rune('a' + i)), undo: undo,
					states: []map[string]int{{}}, applied: []int{0}}
				people[i] = p
				wait.Go(func() {
					for range 60 {
						p.part(0)
					}
				})
			}
			wait.Wait()
			want := map[string]int{}
			settled, rolledBack, refused := 0, 0, 0
			for _, p := range people {
				maps.Copy(want, p.states[0])
				settled += p.applied[0]
				rolledBack += p.rolledBack
				refused += p.refused
			}
			require.True(t, harness.Eventually(context.Background(), 30*time.Second, func() bool {
				return admin.Value("SELECT count(*) FROM hallway.write_log WHERE settled_at IS NULL") == "0"
			}), admin.Query("SELECT id, state, message FROM hallway.write_log WHERE settled_at IS NULL LIMIT 5"))
			have := map[string]int{}
			for _, r := range admin.Query("SELECT email, n FROM items") {
				have[r[0]], _ = strconv.Atoi(r[1])
			}
			require.Equal(t, want, have)
			gone := map[bool]string{false: "orphaned", true: "compensated"}[undo]
			counts := map[string]int{}
			for _, r := range admin.Query("SELECT state, count(*) FROM hallway.write_log GROUP BY 1") {
				counts[r[0]], _ = strconv.Atoi(r[1])
			}
			require.Equal(t, map[string]int{"applied": settled, gone: rolledBack, "refused": refused}, counts)
			t.Logf("%d rows applied, %d %s, %d refused; %d in the API", settled, rolledBack, gone, refused, len(have))
		})
	}
}
