// Package analyst has what analysts ask of HubSpot, Salesforce, Airtable and Stripe,
// twenty queries each, and how many calls somebody would make by hand who knows the
// API. Tests and the benchmark count what Hallway makes.
//
// By hand means: with the API's own means for it, and with what is to be had in one
// call had in one. A search that is some seconds late counts, as HubSpot has no other
// filter; one that is up to a minute late, and that Stripe itself advises against where
// the answer must be right, does not. The reason says what counts.
package analyst

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hallwaydb/hallway/tests/harness"
)

// Query is one question.
type Query struct {
	SQL string
	// Least possible calls, and why.
	Least int
	Why   string
	// Most calls that are made, where it is known that they are more than Least;
	// 0: they are not.
	Most int
}

// Bound is how many calls may be made.
func (q *Query) Bound() int { return max(q.Least, q.Most) }

// Room is an API with records in it.
type Room struct {
	Name string
	// SQL makes the server, and the tables in a schema named like the room.
	SQL     string
	Queries []Query
	// Calls since the last Forget, logins not counted.
	Calls  func() int
	Forget func()
	Close  func()
}

// Rooms starts each API; close them.
func Rooms() ([]*Room, error) {
	var rooms []*Room
	for _, start := range []func() (*Room, error){HubSpot, Salesforce, Airtable, Stripe} {
		r, err := start()
		if err != nil {
			return nil, fmt.Errorf("starting an API: %w", err)
		}
		rooms = append(rooms, r)
	}
	return rooms, nil
}

// most is how often a query is asked.
const most = 6

// Counted is a query and the calls that it took.
type Counted struct {
	Query
	Calls int
}

// Run sets the room up in the connection's database and asks all queries, each twice:
// what the API's metadata takes the first time is not counted. Nothing is cached. A
// query that takes more calls than it may is asked again, lest a machine that stalls
// looks like it: the next page is asked for if a LIMIT is not seen to be reached.
func (r *Room) Run(ctx context.Context, conn *pgconn.PgConn) ([]Counted, error) {
	if _, err := harness.Simple(ctx, conn, r.SQL); err != nil {
		return nil, fmt.Errorf("%s: %s", r.Name, harness.Describe(err))
	}
	if _, err := harness.Simple(ctx, conn, "SET search_path = "+r.Name+", public"); err != nil {
		return nil, fmt.Errorf("%s: %s", r.Name, harness.Describe(err))
	}
	var out []Counted
	for _, q := range r.Queries {
		counted := Counted{q, math.MaxInt}
		for asked := 0; asked < 2 || asked < most && counted.Calls > q.Bound(); asked++ {
			r.Forget()
			if _, err := harness.Simple(ctx, conn, q.SQL); err != nil {
				return nil, fmt.Errorf("%s: %s: %s", r.Name, q.SQL, harness.Describe(err))
			}
			if asked > 0 {
				counted.Calls = min(counted.Calls, r.Calls())
			}
		}
		out = append(out, counted)
	}
	if len(out) != 20 || slices.ContainsFunc(out, func(c Counted) bool { return c.Least < 1 || c.Why == "" }) {
		return nil, errors.New(r.Name + ": the list is not of twenty queries with their least calls and why")
	}
	return out, nil
}

// Sum of the calls that were made, and of the least possible ones.
func Sum(counted []Counted) (made, least int) {
	for _, c := range counted {
		made, least = made+c.Calls, least+c.Least
	}
	return made, least
}
