// Tables for work in the background, which no backend asks for.

package bridge

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/cache"
)

// OpenTable binds the foreign table that a packed Relation describes, as
// hallway.relation_definition() gives it, and says how the cache knows it. The
// caller calls release when it is done with the table.
func (s *Server) OpenTable(ctx context.Context, packed []byte) (table connectors.Table, def cache.Definition, release func(), err error) {
	var rel hallwayv1.Relation
	if err := proto.Unmarshal(packed, &rel); err != nil {
		return nil, def, nil, fmt.Errorf("reading the table's definition: %w", err)
	}
	r, err := s.relations.intern(&rel)
	if err != nil {
		return nil, def, nil, err
	}
	b, err := s.bindRelation(ctx, r)
	if err != nil {
		return nil, def, nil, err
	}
	if b.table == nil {
		b.release()
		return nil, def, nil, protocolError("the relation is a server, not a table")
	}
	return b.table, definition(b, b.table.Describe()), b.release, nil
}
