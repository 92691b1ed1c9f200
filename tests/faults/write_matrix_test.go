// Whoever takes part in a write dies or hangs, at each point on its way. What
// must hold of every cell of the matrix: when all are back, the API, the journal
// and the local rows agree, and nothing was done twice.

package faults

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// victim is who dies or hangs.
type victim string

const (
	sidecarKilled     victim = "sidecar killed"
	sidecarHung       victim = "sidecar hung"
	postgresStopped   victim = "PostgreSQL stopped"
	apiKilled         victim = "API killed"
	apiHung           victim = "API hung"
	backendKilled     victim = "backend killed"
	backendTerminated victim = "backend terminated"
)

var victims = []victim{sidecarKilled, sidecarHung, postgresStopped, apiKilled, apiHung, backendKilled, backendTerminated}

// point is when.
type point string

const (
	beforeIntent   point = "before intent"
	afterIntent    point = "after intent"
	requestSent    point = "request sent"
	answerLost     point = "answer lost"
	answered       point = "answered"
	outcomeWritten point = "outcome written"
	preCommit      point = "pre-commit"
	commit         point = "commit"
	// The undoing of what was rolled back is a write of its own.
	undoSent       point = "undo sent"
	undoAnswerLost point = "undo answer lost"
)

var points = []point{beforeIntent, afterIntent, requestSent, answerLost, answered, outcomeWritten, preCommit, commit, undoSent, undoAnswerLost}

// undoing says that at p the transaction has ended, and the API undoes its write.
func (p point) undoing() bool { return p == undoSent || p == undoAnswerLost }

// inStatement says that at p the statement that writes has not ended.
func (p point) inStatement() bool { return slices.Index(points, p) <= slices.Index(points, answerLost) }

// operation of the cell's statement.
type operation string

const (
	insert operation = "insert"
	update operation = "update"
	remove operation = "delete"
	many   operation = "batch" // an INSERT of three rows
	// INSERTs into a table with upsert_key, of a row that is there and of one that
	// is not.
	upsertOld operation = "upsert of a row that is there"
	upsertNew operation = "upsert of a new row"
	archive   operation = "delete that sets a column"
)

var operations = []operation{insert, update, remove, many, upsertOld, upsertNew, archive}

// inserts says that the operation makes rows, and does not read before.
func (o operation) inserts() bool { return o == insert || o == many }

// shape is the transaction around the statement.
type shape string

const (
	plain            shape = "plain"
	rolledBack       shape = "rolled back"
	savepointKept    shape = "savepoint released"
	savepointBack    shape = "savepoint rolled back"
	blockCaught      shape = "exception block that fails"
	blockNested      shape = "exception block around one that fails"
	deferredFails    shape = "deferred constraint fails"
	writeAtCommit    shape = "write_at commit"
	writeAfterward   shape = "write_at after_commit"
	policyKeep             = "keep"
	policyCompensate       = "compensate"
)

var shapes = []shape{plain, rolledBack, savepointKept, savepointBack, blockCaught, blockNested, deferredFails, writeAtCommit, writeAfterward}

// fails says that the shape takes the write back though nothing dies.
func (s shape) fails() bool {
	return slices.Contains([]shape{rolledBack, savepointBack, blockCaught, deferredFails}, s)
}

// cell is one of the matrix.
type cell struct {
	victim victim
	point  point
	op     operation
	policy string
	shape  shape
	// object of the API's: see ledgerManifest.
	object string
	// lands: a request that was on its way is done after all, when nobody waits
	// for it any more.
	lands bool

	table string
	n     int
	// suffix of its rows' emails, where cells share a collection.
	suffix string
}

func (c *cell) String() string {
	s := fmt.Sprintf("%s/%s/%s/%s/%s/%s", c.victim, c.point, c.op, c.policy, c.shape, c.object)
	if c.lands {
		s += "/lands"
	}
	return strings.ReplaceAll(s, " ", "_")
}

// impossible says why there is no such cell; empty: there is.
func impossible(v victim, p point, policy string, s shape) string {
	api := v == apiKilled || v == apiHung
	late := p == outcomeWritten || p == answered || p == preCommit || p == commit
	switch {
	case p.undoing() && (policy == policyKeep || !s.fails()):
		return "there is nothing to undo"
	case p.undoing() && v == backendTerminated:
		return "the backend has nothing to do with the undoing"
	case v == apiHung && (p == beforeIntent || p == afterIntent):
		return "that an API hangs shows when it is called: it is the cell at 'request sent'"
	case api && p == commit:
		return "nothing calls the API after a commit"
	case api && late && policy == policyKeep:
		return "nothing calls the API once it has answered, unless something is to be undone"
	case api && late && !s.fails():
		return "nothing calls the API once it has answered, unless something is to be undone"
	case p.inStatement() && s == savepointBack:
		return "the statement fails, and an application rolls back to its savepoint then anyway"
	case p.inStatement() && (s == rolledBack || s == deferredFails):
		return "the statement fails, so the transaction never comes to its end"
	case p == preCommit && s == rolledBack:
		return "a ROLLBACK has no pre-commit"
	case p == commit && (s == rolledBack || s == deferredFails):
		return "it does not commit"
	case s == writeAtCommit && (p == answered || p == outcomeWritten || p == commit):
		return "the commit goes on by itself when the API has answered: there is no moment between"
	case s == writeAtCommit && api && p == preCommit:
		return "it is the cell at 'before intent': the API is called next"
	case s == writeAfterward && p != requestSent && p != answerLost:
		return "its intent is stored with the statement and its delivery is what can be hit"
	case s == writeAfterward && v == backendTerminated:
		return "the backend has nothing to do with the delivery"
	}
	return ""
}

// objectsFor are the API's objects that tell an operation's outcome in different
// ways.
func objectsFor(op operation) []string {
	switch op {
	case insert:
		return []string{"unique", "keyed", "listed", "bare"}
	case many:
		return []string{"bulk", "listed", "unique", "keyed"}
	case upsertOld, upsertNew:
		return []string{"unique", "upserting"}
	}
	return []string{"unique", "keyed"}
}

// plan is what a matrix is made of.
type plan struct {
	victims    []victim
	points     []point
	operations []operation
	objectsFor func(operation) []string
	// perChoice is how many shapes there are of each victim, point, operation and
	// policy; they take turns.
	perChoice int
	// real: the API is PocketBase.
	real bool
	// name of its worlds among others'.
	name string
}

var ledgerPlan = plan{victims: victims, points: points, operations: operations, objectsFor: objectsFor, perChoice: 2}

// keysPlan is an API that has no unique field, and remembers idempotency keys: the
// only way to find out about a row that it has. What is written by several requests
// of one statement, or of one delivery, is found out about request by request.
var keysPlan = plan{
	victims: []victim{sidecarKilled}, points: points, operations: []operation{insert, many, update},
	objectsFor: func(op operation) []string {
		if op == many {
			return []string{"keyed", "keyedbulk"}
		}
		return []string{"keyed"}
	},
	perChoice: 5, name: ", idempotency keys",
}

// matrix makes the cells of a victim by point, and says how many combinations
// there cannot be, by reason.
func (pl plan) matrix(v victim) (map[point][]*cell, map[string]int) {
	cells, left := map[point][]*cell{}, map[string]int{}
	turn, n := slices.Index(victims, v), 0
	written := map[operation]int{} // cells, so that objects take turns
	for _, p := range pl.points {
		for _, op := range pl.operations {
			for _, policy := range []string{policyKeep, policyCompensate} {
				var can []shape
				for _, s := range shapes {
					if why := impossible(v, p, policy, s); why != "" {
						left[why]++
						continue
					}
					can = append(can, s)
				}
				for range min(pl.perChoice, len(can)) {
					objects := pl.objectsFor(op)
					c := &cell{victim: v, point: p, op: op, policy: policy, shape: can[turn%len(can)], object: objects[written[op]%len(objects)], n: n}
					written[op]++
					c.lands = (p == requestSent || p == undoSent) && (v != apiKilled || pl.real) && (turn/2)%2 == 0
					c.table = fmt.Sprintf("c%d", n)
					if pl.real {
						c.table = fmt.Sprintf("v%dc%d", slices.Index(victims, v), n)
						c.suffix = "." + c.table
					}
					cells[p] = append(cells[p], c)
					turn++
					n++
				}
				turn++
			}
		}
	}
	return cells, left
}

func TestWrites_Matrix(t *testing.T) {
	var keyed int
	var wait sync.WaitGroup
	wait.Go(func() { keyed = keysPlan.run(t) })
	total := ledgerPlan.run(t)
	wait.Wait()
	if total < 150 || keyed < 100 {
		t.Fatalf("the matrices have %d and %d cells only", total, keyed)
	}
}

// run goes through a plan's cells, and says how many there are.
func (pl plan) run(t *testing.T) (total int) {
	left := map[string]int{}
	for _, v := range pl.victims {
		cells, not := pl.matrix(v)
		for _, list := range cells {
			total += len(list)
		}
		for why, n := range not {
			left[why] += n
		}
	}
	t.Logf("%d cells: %d victims, %d points, %d operations, 2 policies, %d shapes in turn", total, len(pl.victims), len(pl.points), len(pl.operations), len(shapes))
	for why, n := range left {
		t.Logf("%4d combinations left out: %s", n, why)
	}
	pockets := map[victim]*pocket{}
	if pl.real {
		// One after the other: a file that is being copied cannot be run. Those whose
		// PocketBase lives on share one.
		var lives *pocket
		for _, v := range pl.victims {
			switch {
			case v == apiKilled || v == apiHung:
				pockets[v] = newPocket(t)
			case lives == nil:
				lives = newPocket(t)
				fallthrough
			default:
				pockets[v] = lives
			}
		}
	}
	// Not t.Parallel: worlds wait more than they work, so that all go on at once on
	// any machine.
	var wait sync.WaitGroup
	for _, v := range pl.victims {
		wait.Go(func() {
			t.Run(strings.ReplaceAll(string(v)+pl.name, " ", "_"), func(t *testing.T) {
				cells, _ := pl.matrix(v)
				midway := 0
				w := newWriteWorld(t, v, cells, pockets[v])
				for _, p := range pl.points {
					if len(cells[p]) > 0 {
						w.round(p, cells[p])
					}
				}
				w.settled()
				for _, p := range pl.points {
					for _, c := range cells[p] {
						t.Run(c.String(), func(t *testing.T) { w.check(t, c) })
					}
				}
				w.api.mu.Lock()
				for _, c := range w.api.cells {
					if c.lost {
						midway++
					}
				}
				w.api.mu.Unlock()
				if midway > 0 {
					t.Logf("in %d cells PocketBase was killed while it had the request", midway)
				}
				t.Logf("%d cells are left to people, as the object has neither idempotency key nor unique field: %s", len(w.doubtful), strings.Join(w.doubtful, " "))
			})
		})
	}
	wait.Wait()
	return total
}
