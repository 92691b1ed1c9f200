// Describe: what a foreign table can do.

package bridge

import (
	"context"
	"fmt"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/cache"
)

// Describe asks the table; the API is not called.
func (s *Server) Describe(ctx context.Context, req *hallwayv1.DescribeRequest) (*hallwayv1.DescribeResponse, error) {
	b, err := s.bindTable(ctx, req.GetRelation())
	if err != nil {
		return nil, err
	}
	defer b.release()
	d := b.table.Describe()
	resp := &hallwayv1.DescribeResponse{
		Insertable: d.Insertable, Updatable: d.Updatable, Deletable: d.Deletable,
		ReadOnlyReason: d.ReadOnlyReason, Rows: finite(d.Rows), Aggregates: d.Aggregates,
		InsertRows: batchRows(max(ahead(&d, d.BatchRows.Insert), d.Jobs.Insert)),
		UpdateRows: batchRows(max(ahead(&d, d.BatchRows.Update), d.Jobs.Update)),
		DeleteRows: batchRows(max(ahead(&d, d.BatchRows.Delete), d.Jobs.Delete)),
		// Also where rows are written one by one they are looked for together.
		UpsertRows: batchRows(max(d.BatchRows.Insert, d.BatchRows.Update, d.BatchRows.Upsert, upsertRows, d.Jobs.Upsert)),
	}
	if _, ok := b.table.(connectors.Modifier); !ok && (d.Insertable || d.Updatable || d.Deletable) {
		resp.Insertable, resp.Updatable, resp.Deletable = false, false, false
		resp.ReadOnlyReason = fmt.Sprintf("connector %q cannot write", b.rel.connector)
	}
	if resp.KeyColumns, err = b.rel.wireColumns(d.Key); err != nil {
		return nil, err
	}
	if resp.ReadOnlyColumns, err = b.rel.wireColumns(d.ReadOnlyColumns); err != nil {
		return nil, err
	}
	if resp.UnnullableColumns, err = b.rel.wireColumns(d.UnnullableColumns); err != nil {
		return nil, err
	}
	for _, l := range d.Lookups {
		cols, err := b.rel.wireColumns(l.Columns)
		if err != nil {
			return nil, err
		}
		resp.LookupKeys = append(resp.LookupKeys, &hallwayv1.LookupKey{Columns: cols, Unique: l.Unique})
	}
	if c := s.cached(callOf(ctx), b); c != nil {
		resp.CacheAccount, resp.CacheShape = c.def.Account, cache.Shape(c.def)
	}
	return resp, nil
}

// upsertRows is how many rows an upsert looks for at once at least.
const upsertRows = 100

// batchRows bounds what a connector says.
func batchRows(n int) uint32 {
	return uint32(min(max(n, 0), maxBatchRows))
}

// wireColumns checks positions that came from a connector.
func (r *relation) wireColumns(list []int) ([]uint32, error) {
	out := make([]uint32, len(list))
	for i, c := range list {
		if c < 0 || c >= len(r.spec.Columns) {
			return nil, &connectors.Error{Class: connectors.Internal,
				Message: fmt.Sprintf("the connector named column %d of %d", c, len(r.spec.Columns))}
		}
		out[i] = uint32(c)
	}
	return out, nil
}
