// Plan: what of a query the API will do, and the opaque bytes in which the
// backend keeps it for Scan.

package bridge

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// Plan says which part of a query the API will execute.
func (s *Server) Plan(ctx context.Context, req *hallwayv1.PlanRequest) (*hallwayv1.PlanResponse, error) {
	b, err := s.bindTable(ctx, req.GetRelation())
	if err != nil {
		return nil, err
	}
	defer b.release()
	r, err := convert(b.rel, req, false, nil)
	if err != nil {
		return nil, err
	}
	p, err := planned(b.table, r)
	if err != nil {
		return nil, err
	}
	resp := &hallwayv1.PlanResponse{
		Verdicts: p.verdicts(r), LimitExact: p.LimitExact && r.LimitPossible,
		Rows: finite(p.Rows), Width: finite(p.Width),
		StartupCost: finite(p.StartupCost), TotalCost: finite(p.TotalCost),
		ValueDependent: p.ValueDependent,
	}
	resp.AggregationExact = r.Aggregation != nil && p.AggregationExact && allExact(resp.GetVerdicts())
	for _, o := range p.ExactOrderings {
		resp.ExactOrderings = append(resp.ExactOrderings, uint32(o))
	}
	if resp.Plan, err = encodePlan(b.rel, req, resp); err != nil {
		return nil, err
	}
	return resp, nil
}

func allExact(verdicts []*hallwayv1.ConjunctVerdict) bool {
	return !slices.ContainsFunc(verdicts, func(v *hallwayv1.ConjunctVerdict) bool {
		return v.GetVerdict() != hallwayv1.Verdict_VERDICT_EXACT
	})
}

func finite(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) || f < 0 {
		return 0
	}
	return f
}

// plan is a connector's answer, checked.
type plan struct{ pushdown.Plan }

// planned asks the table, whose answer must fit the question.
func planned(t connectors.Table, r *request) (plan, error) {
	p := plan{t.Plan(r.Request)}
	if len(p.Conjuncts) != len(r.Conjuncts) {
		return p, &connectors.Error{Class: connectors.Internal,
			Message: fmt.Sprintf("the connector gave %d verdicts for %d conjuncts", len(p.Conjuncts), len(r.Conjuncts))}
	}
	for _, o := range p.ExactOrderings {
		if o < 0 || o >= len(r.Orderings) {
			return p, &connectors.Error{Class: connectors.Internal,
				Message: fmt.Sprintf("the connector named ordering %d of %d", o, len(r.Orderings))}
		}
	}
	return p, nil
}

// verdicts are those of the wire's conjuncts.
func (p plan) verdicts(r *request) []*hallwayv1.ConjunctVerdict {
	out := make([]*hallwayv1.ConjunctVerdict, len(r.at))
	for i, at := range r.at {
		v := &hallwayv1.ConjunctVerdict{Verdict: hallwayv1.Verdict_VERDICT_LOCAL, Reason: r.reasons[i]}
		if at >= 0 {
			v.Reason = p.Conjuncts[at].Reason
			switch p.Conjuncts[at].Verdict {
			case pushdown.Exact:
				v.Verdict = hallwayv1.Verdict_VERDICT_EXACT
			case pushdown.Superset:
				v.Verdict = hallwayv1.Verdict_VERDICT_SUPERSET
			case pushdown.Local:
			}
		}
		out[i] = v
	}
	return out
}

// Opaque plans: a version byte, the table's shape (8 bytes), the length of the
// request (uvarint), the request without relation and values, the answer's
// verdicts and limit. Another version's plan is refused, not guessed at.
const planVersion = 1

func encodePlan(rel *relation, req *hallwayv1.PlanRequest, resp *hallwayv1.PlanResponse) ([]byte, error) {
	kept := &hallwayv1.PlanRequest{Orderings: req.GetOrderings(), Columns: req.GetColumns(), Aggregation: req.GetAggregation(),
		LimitPossible: req.GetLimitPossible(), LimitRows: req.GetLimitRows(),
		Conjuncts: make([]*hallwayv1.Expr, len(req.GetConjuncts()))}
	for i, e := range req.GetConjuncts() {
		kept.Conjuncts[i] = withoutValues(e)
	}
	asked, err := proto.Marshal(kept)
	if err != nil {
		return nil, fmt.Errorf("encoding the plan: %w", err)
	}
	answered, err := proto.Marshal(&hallwayv1.PlanResponse{Verdicts: resp.GetVerdicts(),
		ExactOrderings: resp.GetExactOrderings(), LimitExact: resp.GetLimitExact()})
	if err != nil {
		return nil, fmt.Errorf("encoding the plan: %w", err)
	}
	out := make([]byte, 0, 1+8+binary.MaxVarintLen64+len(asked)+len(answered))
	out = append(out, planVersion)
	out = binary.BigEndian.AppendUint64(out, rel.shape)
	out = binary.AppendUvarint(out, uint64(len(asked)))
	out = append(out, asked...)
	return append(out, answered...), nil
}

// stalePlan is for a plan that this sidecar cannot keep its word on.
func stalePlan(detail string) error {
	return &ownError{code: codes.FailedPrecondition, sqlstate: stateStalePlan,
		message: "a cached plan for this foreign table is out of date",
		detail:  detail, hint: "Run DISCARD PLANS, or connect again."}
}

func decodePlan(rel *relation, data []byte) (*hallwayv1.PlanRequest, *hallwayv1.PlanResponse, error) {
	if len(data) == 0 {
		return nil, nil, protocolError("the plan is missing")
	}
	if data[0] != planVersion {
		return nil, nil, stalePlan("It was made by another version of the sidecar.")
	}
	data = data[1:]
	if len(data) < 8 {
		return nil, nil, protocolError("the plan is cut short")
	}
	if binary.BigEndian.Uint64(data) != rel.shape {
		return nil, nil, stalePlan("It was made when the table had other columns.")
	}
	data = data[8:]
	n, used := binary.Uvarint(data)
	if used <= 0 || n > uint64(len(data)-used) {
		return nil, nil, protocolError("the plan is cut short")
	}
	data = data[used:]
	req, resp := &hallwayv1.PlanRequest{}, &hallwayv1.PlanResponse{}
	if err := proto.Unmarshal(data[:n], req); err != nil {
		return nil, nil, protocolError("the plan's request is malformed")
	}
	if err := proto.Unmarshal(data[n:], resp); err != nil {
		return nil, nil, protocolError("the plan's answer is malformed")
	}
	if len(resp.GetVerdicts()) != len(req.GetConjuncts()) {
		return nil, nil, protocolError("the plan has %d verdicts for %d conjuncts", len(resp.GetVerdicts()), len(req.GetConjuncts()))
	}
	return req, resp, nil
}

// withoutValues copies e without the values of known parameters: they come
// again with Scan, and a plan may be used for others.
func withoutValues(e *hallwayv1.Expr) *hallwayv1.Expr {
	c, ok := proto.Clone(e).(*hallwayv1.Expr)
	if !ok {
		return e
	}
	forget(c)
	return c
}

func forget(list ...*hallwayv1.Expr) {
	for _, e := range list {
		switch n := e.GetNode().(type) {
		case *hallwayv1.Expr_Parameter:
			n.Parameter.Known, n.Parameter.Value = false, nil
		case *hallwayv1.Expr_Comparison:
			forget(n.Comparison.GetLeft(), n.Comparison.GetRight())
		case *hallwayv1.Expr_Membership:
			forget(n.Membership.GetOperand(), n.Membership.GetArray())
		case *hallwayv1.Expr_Match:
			forget(n.Match.GetOperand(), n.Match.GetPattern())
		case *hallwayv1.Expr_NullTest:
			forget(n.NullTest.GetOperand())
		case *hallwayv1.Expr_BoolTest:
			forget(n.BoolTest.GetOperand())
		case *hallwayv1.Expr_And:
			forget(n.And.GetOperands()...)
		case *hallwayv1.Expr_Or:
			forget(n.Or.GetOperands()...)
		case *hallwayv1.Expr_Not:
			forget(n.Not.GetOperand())
		case *hallwayv1.Expr_Function:
			forget(n.Function.GetArguments()...)
		}
	}
}
