// Reading associations.

package hubspot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

// Scan reads associations.
func (t *links) Scan(ctx context.Context, q connectors.Query, out *rows.Builder) (connectors.ScanResult, error) {
	s := &linkScan{t: t, q: &q, out: out}
	if q.Sample > 0 && (q.Limit == 0 || q.Sample < q.Limit) {
		q.Limit = q.Sample
	}
	c, _ := t.choose(q.Request)
	if len(q.Conjuncts) > 0 && (c.used < 0 || len(q.Conjuncts) > 1) && q.Sample == 0 {
		q.Limit = 0 // what is left is checked behind us
	}
	s.back, s.used = c.back, c.used >= 0
	var err error
	if s.back && s.types() {
		if c.ids, err = s.turn(ctx, c.ids); err != nil {
			return connectors.ScanResult{}, err
		}
		s.back = false
	}
	if c.used >= 0 {
		for chunk := range slices.Chunk(c.ids, associationsRead) {
			if err = s.read(ctx, inputs(chunk)); err != nil {
				break
			}
		}
	} else {
		err = s.all(ctx)
	}
	if err != nil && !errors.Is(err, errEnough) {
		return connectors.ScanResult{}, err
	}
	return connectors.ScanResult{}, out.Flush()
}

// errEnough ends a scan at its limit.
var errEnough = errors.New("enough rows")

// linkScan is one scan.
type linkScan struct {
	t   *links
	q   *connectors.Query
	out *rows.Builder
	// back: they are asked for from the second side, where types have other ids.
	// What the first side says then counts, if types are wanted.
	back bool
	// only these of the second side; nil: all.
	only []int64
	used bool // some records are asked for, not all
	rows uint64
}

// types tells whether the scan's rows show them.
func (s *linkScan) types() bool {
	return slices.ContainsFunc(s.q.Columns, func(c int) bool { return c >= 0 && c < len(s.t.field) && s.t.field[c] >= fieldType })
}

// turn finds the records of the first side that are associated with those of the
// second.
func (s *linkScan) turn(ctx context.Context, ids []int64) ([]int64, error) {
	var first []int64
	take := func(_, other int64, _ []kind) error {
		first = append(first, other)
		return nil
	}
	for chunk := range slices.Chunk(ids, associationsRead) {
		if err := s.readTo(ctx, inputs(chunk), take); err != nil {
			return nil, err
		}
	}
	s.only = ids
	slices.Sort(first)
	return slices.Compact(first), nil
}

// all reads the records of the first side, and the associations of those that have
// any.
func (s *linkScan) all(ctx context.Context) error {
	var with []input
	// The first rows come soon, all of them by few calls.
	for after, enough := "", 1; ; enough = min(2*enough+associationsList, associationsRead) {
		var page struct {
			Results []struct {
				ID           string                     `json:"id"`
				Associations map[string]json.RawMessage `json:"associations"`
			} `json:"results"`
			Paging struct {
				Next struct {
					After string `json:"after"`
				} `json:"next"`
			} `json:"paging"`
		}
		if err := s.t.a.api.Call(ctx, s.t.listRequest(after, s.q.Stats), &page); err != nil {
			return err
		}
		s.q.Stats.Pages.Add(1)
		for _, r := range page.Results {
			if len(r.Associations) > 0 {
				with = append(with, input{ID: r.ID})
			}
		}
		next := page.Paging.Next.After
		for len(with) >= enough || next == "" && len(with) > 0 {
			n := min(len(with), associationsRead)
			if err := s.read(ctx, with[:n:n]); err != nil {
				return err
			}
			with = with[n:]
		}
		if next == "" {
			return nil
		}
		if next == after {
			return &connectors.Error{Class: connectors.Protocol, API: "HubSpot", Message: fmt.Sprintf("the page after %q is said to be after itself", after)}
		}
		after = next
	}
}

// read hands over the associations of some records.
func (s *linkScan) read(ctx context.Context, in []input) error { return s.readTo(ctx, in, s.hand) }

// readTo reads the associations of some records, all pages of them.
func (s *linkScan) readTo(ctx context.Context, in []input, take func(id, other int64, types []kind) error) error {
	for len(in) > 0 {
		var page struct {
			Results []struct {
				From input `json:"from"`
				To   []struct {
					ID    int64  `json:"toObjectId"`
					Types []kind `json:"associationTypes"`
				} `json:"to"`
				Paging struct {
					Next struct {
						After string `json:"after"`
					} `json:"next"`
				} `json:"paging"`
			} `json:"results"`
		}
		if err := s.t.a.api.Call(ctx, s.t.readRequest(s.back, in, s.q.Stats), &page); err != nil {
			return err
		}
		if s.used {
			s.q.Stats.Pages.Add(1)
		}
		in = nil
		for _, r := range page.Results {
			id, err := strconv.ParseInt(r.From.ID, 10, 64)
			if err != nil {
				return &connectors.Error{Class: connectors.Protocol, API: "HubSpot", Message: fmt.Sprintf("a record's id is no number: %q", r.From.ID)}
			}
			for _, to := range r.To {
				if err := take(id, to.ID, to.Types); err != nil {
					return err
				}
			}
			if after := r.Paging.Next.After; after != "" {
				in = append(in, input{r.From.ID, after})
			}
		}
	}
	return nil
}

// hand gives the rows of a pair.
func (s *linkScan) hand(id, other int64, types []kind) error {
	l := link{from: id, to: other}
	if s.back {
		l.from, l.to = other, id
	}
	if _, wanted := slices.BinarySearch(s.only, l.to); s.only != nil && !wanted {
		return nil
	}
	if !s.t.typed() {
		types = types[:min(len(types), 1)]
	}
	for _, k := range types {
		if s.q.Limit > 0 && s.rows == s.q.Limit {
			return errEnough
		}
		l.kind = k
		if err := s.t.emit(s.out, s.q.Columns, &l); err != nil {
			return err
		}
		s.rows++
		s.q.Stats.Rows.Add(1)
	}
	return nil
}

// emit gives a row.
func (t *links) emit(out *rows.Builder, columns []int, l *link) error {
	for _, c := range columns {
		f := -1
		if c >= 0 && c < len(t.field) {
			f = t.field[c]
		}
		switch f {
		case fieldFrom:
			out.Int64(l.from)
		case fieldTo:
			out.Int64(l.to)
		case fieldType:
			out.Int64(int64(l.kind.ID))
		case fieldCategory:
			out.String(l.kind.Category)
		case fieldLabel:
			if l.kind.Label != nil {
				out.String(*l.kind.Label)
				break
			}
			out.Null()
		default:
			out.Null()
		}
	}
	return out.EndRow()
}
