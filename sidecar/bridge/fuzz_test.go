package bridge

import (
	"testing"

	"google.golang.org/protobuf/proto"

	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
)

// FuzzScanRequest: whatever a backend sends as a scan, the answer is a query
// or an error, never a panic and never an index past the columns.
func FuzzScanRequest(f *testing.F) {
	rel, err := newRelation(things(1).GetDefinition())
	if err != nil {
		f.Fatal(err)
	}
	known := int64(5)
	req := &hallwayv1.PlanRequest{Conjuncts: []*hallwayv1.Expr{idIs(0, &known), idIs(1, nil)},
		Orderings: []*hallwayv1.Ordering{{Keys: []*hallwayv1.SortKey{{Column: 1}}}}, Columns: []uint32{0}, LimitPossible: true}
	resp := &hallwayv1.PlanResponse{Verdicts: []*hallwayv1.ConjunctVerdict{{Verdict: 1}, {Verdict: 2}}, ExactOrderings: []uint32{0}}
	plan, err := encodePlan(rel, req, resp)
	if err != nil {
		f.Fatal(err)
	}
	seed, err := proto.Marshal(&hallwayv1.ScanRequest{Plan: plan, Parameters: []*hallwayv1.Value{int8Value(1), int8Value(2)}, Columns: []uint32{1}, Ordering: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, plan)
	b := &bound{rel: rel, table: fakeTable{&fake{}}}
	f.Fuzz(func(t *testing.T, request, plan []byte) {
		m := &hallwayv1.ScanRequest{}
		if proto.Unmarshal(request, m) != nil {
			return
		}
		m.Plan = plan
		p, err := prepareScan(t.Context(), b, m, m.GetFill().GetConjuncts())
		if err != nil {
			return
		}
		for _, c := range p.query.Columns {
			if c < 0 || c >= len(rel.spec.Columns) {
				t.Fatalf("column %d", c)
			}
		}
		if len(p.header.GetRecheck()) > maxConjuncts {
			t.Fatal("too many conjuncts")
		}
	})
}
