// Calls that queries take beside those by hand, and scans that wait for an API.

package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/hallwaydb/hallway/tests/analyst"
	"github.com/hallwaydb/hallway/tests/fakes/stripe"
)

// countCalls asks each API's list of queries in a database of its own.
func (s *session) countCalls(ctx context.Context) error {
	rooms, err := analyst.Rooms()
	for _, r := range rooms {
		defer r.Close()
	}
	if err != nil {
		return fmt.Errorf("counting calls: %w", err)
	}
	for _, r := range rooms {
		b := &bench{env: s.env}
		if err := s.env.Cluster.CreateDatabase(ctx, "calls_"+r.Name); err != nil {
			return fmt.Errorf("counting calls: %w", err)
		}
		own, err := b.openIn(ctx, "calls_"+r.Name)
		if err != nil {
			return err
		}
		if _, err := own.exec(ctx, "SET hallway.address = '"+s.env.Sidecar.Address()+"'"); err != nil {
			return err
		}
		counted, err := r.Run(ctx, own.conn)
		own.close(ctx)
		if err != nil {
			return fmt.Errorf("counting calls: %w", err)
		}
		for _, q := range counted {
			if q.Calls > q.Least {
				log.Printf("%s: %d calls, %d by hand (%s): %s", r.Name, q.Calls, q.Least, q.Why, q.SQL)
			}
		}
		made, least := analyst.Sum(counted)
		s.sample("calls_"+r.Name, float64(made))
		s.sample("least_"+r.Name, float64(least))
	}
	return nil
}

const (
	partitionPages   = 100
	partitionLatency = 50 * time.Millisecond
)

// preparePartition makes charges of some years, as they come: more by day than by
// night.
func (s *session) preparePartition(ctx context.Context) error {
	api, err := stripe.New(stripe.Options{})
	if err != nil {
		return fmt.Errorf("starting Stripe: %w", err)
	}
	s.env.Defer(api.Close)
	at := time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range partitionPages * 100 {
		at = at.Add(2 * time.Hour)
		if i%3 == 0 {
			at = at.Add(3 * time.Hour)
		}
		api.Put("charges", map[string]any{"created": at.Unix(), "amount": i, "amount_captured": i})
	}
	api.Set(func(k *stripe.Knobs) { k.Latency = partitionLatency })
	for name, options := range map[string]string{"partitioned": "", "sequential": ", parallel '1'"} {
		_, err := s.exec(ctx, fmt.Sprintf(`CREATE SERVER %[1]s FOREIGN DATA WRAPPER hallway OPTIONS (connector 'stripe', base_url '%[2]s', cache 'off', calls_per_second '100000'%[3]s);
CREATE USER MAPPING FOR PUBLIC SERVER %[1]s OPTIONS (token '%[4]s'); CREATE SCHEMA %[1]s;
IMPORT FOREIGN SCHEMA "default" LIMIT TO (charges) FROM SERVER %[1]s INTO %[1]s`, name, api.URL, options, stripe.Key))
		if err != nil {
			return err
		}
	}
	return nil
}

// partitioned reads all charges, several requests at once and one after the other.
func (s *session) partitioned(ctx context.Context) error {
	for range 3 {
		for _, name := range []string{"partitioned", "sequential"} {
			start := time.Now()
			r, err := s.exec(ctx, "SELECT count(*), count(DISTINCT id), sum(amount) FROM "+name+".charges")
			if err != nil {
				return err
			}
			s.sample(name, ms(time.Since(start)))
			const n = partitionPages * 100
			if got, want := r.Rows[0].String(), fmt.Sprintf("(%d | %d | %d)", n, n, n*(n-1)/2); got != want {
				return fmt.Errorf("%s: %s instead of %s", name, got, want)
			}
		}
	}
	return nil
}
