// What is measured, and in which order.

package main

import (
	"context"
	"log"
	"slices"
)

// part is something that is measured. Each step may be nil.
type part struct {
	name string
	// prepare comes before everything, in the order of parts.
	prepare func(*session, context.Context) error
	// measure comes in each round, if it is in order. keep takes a measurement, but in the round that
	// warms up.
	measure func(s *session, ctx context.Context, keep func(string, float64)) error
	// once comes at the end.
	once func(*session, context.Context) error
}

var parts = []part{
	{name: "scans", measure: (*session).scans},
	{name: "pace", measure: (*session).pace},
	{name: "one_row", measure: (*session).oneRow},
	{name: "writes", measure: (*session).writes},
	{name: "cached", prepare: (*session).prepareCached, measure: (*session).cached, once: (*session).refreshes},
	{name: "replica", prepare: (*session).prepareReplica, measure: (*session).replica},
	{name: "bulk", prepare: (*session).prepareBulk, measure: (*session).bulkWrites, once: (*session).countWrites},
	{name: "journal", prepare: (*session).prepareDurable, measure: (*session).journal},
	{name: "rest", measure: (*session).rest},
	{name: "hubspot", prepare: (*session).prepareHubSpot, measure: (*session).hubspotRead},
	{name: "calls", once: (*session).countCalls},
	{name: "partition", prepare: (*session).preparePartition, once: (*session).partitioned},
	{name: "stop", prepare: (*session).prepareStop, once: (*session).stops},
}

// order of a round. Five hundred scans of a row take 100 ms, two hundred INSERTs
// 200 ms: whatever else the machine does in such a moment would be the round's
// figure. So they come three times, apart from each other.
var order = []string{"scans", "pace", "one_row", "writes", "cached", "replica", "pace", "one_row", "writes", "bulk", "journal", "rest", "hubspot", "pace", "one_row", "writes"}

func (s *session) measure(ctx context.Context) error {
	wanted := func(name string) bool { return len(s.only) == 0 || slices.Contains(s.only, name) }
	if err := s.prepare(ctx); err != nil {
		return err
	}
	for _, p := range parts {
		if p.prepare != nil && wanted(p.name) {
			log.Printf("preparing %s", p.name)
			if err := p.prepare(s, ctx); err != nil {
				return err
			}
		}
	}
	for round := range s.rounds + 1 {
		keep := s.sample
		if log.Printf("round %d of %d", round, s.rounds); round == 0 {
			keep = func(string, float64) {} // it warms up
		}
		for _, name := range order {
			i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
			if !wanted(name) {
				continue
			}
			if err := parts[i].measure(s, ctx, keep); err != nil {
				return err
			}
		}
	}
	for _, p := range parts {
		if p.once != nil && wanted(p.name) {
			log.Printf("counting %s", p.name)
			if err := p.once(s, ctx); err != nil {
				return err
			}
		}
	}
	return nil
}
