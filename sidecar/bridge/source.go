// Relations bound to connectors: sources (a server with a credential) shared
// by all backends, tables by their definition, closed when idle.

package bridge

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
)

// Bounds on what a definition may hold; PostgreSQL's own are lower.
const (
	maxColumns = 1664
	maxOptions = 1000
	// maxTables kept for one source; past it they are bound anew.
	maxTables = 10000
)

// relation is a definition, taken apart once.
type relation struct {
	def       *hallwayv1.Relation   // names alone
	connector string                // server option "connector"
	server    connectors.ServerSpec // Credential without what a secret adds
	secret    string                // name in the secret store; "": none
	spec      connectors.TableSpec
	table     [32]byte // identity of spec
	shape     uint64   // of the columns' types, for stale plans

	mu       sync.Mutex
	key      [32]byte // identity of the source
	resolved connectors.ServerSpec
	checked  time.Time // when the secret was read
}

// newRelation checks a definition and takes it apart.
func newRelation(def *hallwayv1.Relation) (*relation, error) {
	if len(def.GetColumns()) > maxColumns {
		return nil, protocolError("%d columns", len(def.GetColumns()))
	}
	r := &relation{def: &hallwayv1.Relation{ServerName: def.GetServerName(), UserName: def.GetUserName(),
		SchemaName: def.GetSchemaName(), TableName: def.GetTableName()}}
	r.server = connectors.ServerSpec{Name: def.GetServerName(), User: def.GetUserName()}
	var err error
	if r.server.Options, err = optionMap(def.GetServerOptions()); err != nil {
		return nil, err
	}
	if r.server.Credential, err = optionMap(def.GetUserOptions()); err != nil {
		return nil, err
	}
	// These are the shim's and the bridge's own, not the connector's.
	r.connector = r.server.Options["connector"]
	delete(r.server.Options, "connector")
	delete(r.server.Options, "address")
	r.secret = r.server.Credential["secret"]
	delete(r.server.Credential, "secret")
	r.spec = connectors.TableSpec{Schema: def.GetSchemaName(), Name: def.GetTableName(),
		Columns: make([]connectors.ColumnSpec, len(def.GetColumns()))}
	if r.spec.Options, err = optionMap(def.GetTableOptions()); err != nil {
		return nil, err
	}
	id := newDigest()
	shape := newDigest()
	id.text(r.spec.Schema, r.spec.Name)
	id.options(r.spec.Options)
	for i, c := range def.GetColumns() {
		t, err := typeOf(c.GetType())
		if err != nil {
			return nil, err
		}
		opts, err := optionMap(c.GetOptions())
		if err != nil {
			return nil, err
		}
		r.spec.Columns[i] = connectors.ColumnSpec{Name: c.GetName(), Type: t, NotNull: c.GetNotNull(),
			Generated: c.GetGenerated(), Options: opts}
		id.text(c.GetName(), fmt.Sprint(c.GetNotNull(), c.GetGenerated()))
		id.options(opts)
		for _, d := range []digest{id, shape} {
			d.text(c.GetName(), t.Name)
			d.text(t.Labels...)
			d.ints(uint64(t.Kind), uint64(t.OID), uint64(t.Length), uint64(t.Precision), uint64(uint32(t.Scale)))
		}
	}
	r.table = id.sum()
	sh := shape.sum()
	r.shape = binary.BigEndian.Uint64(sh[:8])
	return r, nil
}

func optionMap(list []*hallwayv1.Option) (map[string]string, error) {
	if len(list) > maxOptions {
		return nil, protocolError("%d options", len(list))
	}
	m := make(map[string]string, len(list))
	for _, o := range list {
		if _, dup := m[o.GetName()]; dup {
			return nil, protocolError("option %q is given twice", o.GetName())
		}
		m[o.GetName()] = o.GetValue()
	}
	return m, nil
}

// digest hashes definitions without ambiguity between neighbours.
type digest struct{ h hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

func (d digest) ints(list ...uint64) {
	for _, n := range list {
		d.h.Write(binary.BigEndian.AppendUint64(nil, n))
	}
}

func (d digest) text(list ...string) {
	d.ints(uint64(len(list)))
	for _, s := range list {
		d.ints(uint64(len(s)))
		d.h.Write([]byte(s))
	}
}

func (d digest) options(m map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		d.text(k, m[k])
	}
	d.ints(uint64(len(m)))
}

func (d digest) sum() (out [32]byte) {
	d.h.Sum(out[:0])
	return out
}

// secretTTL is how long a secret is used before its file is read again, so
// that a rotated one needs no restart.
const secretTTL = 5 * time.Second

// resolve gives the server with the whole credential, and its identity.
func (r *relation) resolve(s *Server, spec connectors.Connector) (connectors.ServerSpec, [32]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.checked.IsZero() && (r.secret == "" || time.Since(r.checked) < secretTTL) {
		return r.resolved, r.key, nil
	}
	out := r.server
	if r.secret != "" {
		if s.cfg.Secrets == nil {
			return out, r.key, &connectors.Error{Class: connectors.InvalidOptionValue,
				Message: fmt.Sprintf("secret %q cannot be found: this sidecar has no secret store", r.secret),
				Hint:    "Set secrets_dir or secrets_env_prefix in the sidecar's settings."}
		}
		values, err := s.cfg.Secrets.Lookup(r.secret)
		if err != nil {
			return out, r.key, &connectors.Error{Class: connectors.InvalidOptionValue, Message: err.Error(),
				Hint: "The sidecar's administrator can run \"hallway check\"."}
		}
		out.Credential = maps.Clone(r.server.Credential)
		for name, v := range values {
			if name == "" {
				if name, err = bareSecretOption(spec, r.secret); err != nil {
					return out, r.key, err
				}
			}
			// What the user mapping says itself wins.
			if _, own := r.server.Credential[name]; !own {
				out.Credential[name] = v
			}
		}
	}
	d := newDigest()
	d.text(r.connector, out.Name)
	d.options(out.Options)
	d.options(out.Credential)
	r.resolved, r.key, r.checked = out, d.sum(), time.Now()
	return out, r.key, nil
}

// bareSecretOption is the option that a secret without a name is for: "token"
// if the connector has it, else its only secret one.
func bareSecretOption(c connectors.Connector, secret string) (string, error) {
	var names []string
	for _, o := range c.Options() {
		if o.Where == connectors.OnUserMapping && o.Secret {
			if o.Name == "token" {
				return o.Name, nil
			}
			names = append(names, o.Name)
		}
	}
	if len(names) == 1 {
		return names[0], nil
	}
	return "", &connectors.Error{Class: connectors.InvalidOptionValue,
		Message: fmt.Sprintf("secret %q is one value, and connector %q does not say which option that is", secret, c.Name()),
		Hint:    fmt.Sprintf("Store it as %s.env with lines NAME=VALUE; names: %s.", secret, strings.Join(names, ", "))}
}

// source is an open connectors.Source.
type source struct {
	src   connectors.Source
	err   error
	ready chan struct{} // closed when src or err is set

	mu     sync.Mutex
	tables map[[32]byte]connectors.Table

	// Under sources.mu; gone means that it is not to be found any more.
	refs int
	used time.Time
	gone bool
}

// sources are the open ones, by identity.
type sources struct {
	log  *slog.Logger
	idle time.Duration

	mu     sync.Mutex
	open   map[[32]byte]*source
	closed bool
	stop   chan struct{}
}

func newSources(log *slog.Logger, idle time.Duration) *sources {
	ss := &sources{log: log, idle: idle, open: map[[32]byte]*source{}, stop: make(chan struct{})}
	go ss.expire()
	return ss
}

func (ss *sources) len() int {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return len(ss.open)
}

// expire closes sources that nobody has used for a while.
func (ss *sources) expire() {
	tick := time.NewTicker(max(ss.idle/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ss.stop:
			return
		case <-tick.C:
		}
		var idle []*source
		ss.mu.Lock()
		for key, e := range ss.open {
			if e.refs == 0 && time.Since(e.used) > ss.idle {
				delete(ss.open, key)
				idle = append(idle, e)
			}
		}
		ss.mu.Unlock()
		for _, e := range idle {
			ss.shut(e)
		}
	}
}

func (ss *sources) shut(e *source) {
	if e.src == nil {
		return
	}
	if err := e.src.Close(); err != nil {
		ss.log.Warn("closing a connector", "error", err.Error())
	}
}

func (ss *sources) close() {
	ss.mu.Lock()
	if ss.closed {
		ss.mu.Unlock()
		return
	}
	ss.closed = true
	all := ss.open
	ss.open = map[[32]byte]*source{}
	ss.mu.Unlock()
	close(ss.stop)
	for _, e := range all {
		ss.shut(e)
	}
}

// acquire finds or opens a source; release it when the call is over.
func (ss *sources) acquire(ctx context.Context, key [32]byte, open func(context.Context) (connectors.Source, error)) (*source, error) {
	ss.mu.Lock()
	e := ss.open[key]
	mine := e == nil
	if mine {
		e = &source{ready: make(chan struct{}), tables: map[[32]byte]connectors.Table{}}
		ss.open[key] = e
	}
	e.refs++
	ss.mu.Unlock()
	if mine {
		ss.fill(ctx, key, e, open)
	}
	select {
	case <-e.ready:
	case <-ctx.Done():
		ss.release(e)
		return nil, fmt.Errorf("waiting for the connector to open: %w", ctx.Err())
	}
	if e.err != nil {
		ss.release(e)
		return nil, e.err
	}
	return e, nil
}

// fill opens e; a failure, or a panic, is the answer for those who wait now and
// forgotten then.
func (ss *sources) fill(ctx context.Context, key [32]byte, e *source, open func(context.Context) (connectors.Source, error)) {
	e.err = errors.New("the connector did not open")
	defer func() {
		if e.err != nil {
			ss.mu.Lock()
			if ss.open[key] == e {
				delete(ss.open, key)
			}
			ss.mu.Unlock()
		}
		close(e.ready)
	}()
	// The source outlives this call.
	e.src, e.err = open(context.WithoutCancel(ctx))
}

func (ss *sources) release(e *source) {
	ss.mu.Lock()
	e.refs--
	e.used = time.Now()
	last := e.gone && e.refs == 0
	ss.mu.Unlock()
	if last {
		ss.shut(e)
	}
}

// reset forgets all sources; those in use are closed by their last user.
func (ss *sources) reset() {
	var idle []*source
	ss.mu.Lock()
	for key, e := range ss.open {
		delete(ss.open, key)
		if e.gone = true; e.refs == 0 {
			idle = append(idle, e)
		}
	}
	ss.mu.Unlock()
	for _, e := range idle {
		ss.shut(e)
	}
}

// bound is a relation with its connector's side, for one call.
type bound struct {
	rel     *relation
	table   connectors.Table // nil for a server alone
	source  connectors.Source
	release func()
}

// bind resolves what ref names. The caller calls release.
func (s *Server) bind(ctx context.Context, ref *hallwayv1.RelationRef) (*bound, error) {
	c := callOf(ctx)
	if c == nil || c.conn == nil {
		return nil, protocolError("the call has no connection")
	}
	rel, err := c.conn.relation(ref)
	if err != nil {
		return nil, err
	}
	c.rel = rel
	connector, err := s.cfg.Registry.Get(rel.connector)
	if err != nil {
		return nil, fmt.Errorf("finding the connector: %w", err)
	}
	spec, key, err := rel.resolve(s, connector)
	if err != nil {
		return nil, err
	}
	e, err := s.sources.acquire(ctx, key, func(ctx context.Context) (connectors.Source, error) {
		return connector.Open(ctx, s.cfg.Env, spec)
	})
	if err != nil {
		return nil, fmt.Errorf("opening server %q: %w", rel.server.Name, err)
	}
	b := &bound{rel: rel, source: e.src, release: func() { s.sources.release(e) }}
	if rel.def.GetTableName() == "" {
		return b, nil
	}
	e.mu.Lock()
	b.table = e.tables[rel.table]
	e.mu.Unlock()
	if b.table == nil {
		if b.table, err = e.src.Table(ctx, rel.spec); err != nil {
			b.release()
			return nil, fmt.Errorf("binding the table: %w", err)
		}
		e.mu.Lock()
		if len(e.tables) >= maxTables {
			clear(e.tables)
		}
		e.tables[rel.table] = b.table
		e.mu.Unlock()
	}
	return b, nil
}

// bindTable is bind for what needs a table.
func (s *Server) bindTable(ctx context.Context, ref *hallwayv1.RelationRef) (*bound, error) {
	b, err := s.bind(ctx, ref)
	if err != nil {
		return nil, err
	}
	if b.table == nil {
		b.release()
		return nil, protocolError("the relation is a server, not a table")
	}
	return b, nil
}

// typesAt are the types of columns by position, which must be valid.
func (r *relation) typesAt(positions []int) []pushdown.Type {
	out := make([]pushdown.Type, len(positions))
	for i, p := range positions {
		out[i] = r.spec.Columns[p].Type
	}
	return out
}

// columnsAt checks column indexes that came from the wire.
func (r *relation) columnsAt(list []uint32) ([]int, error) {
	if len(list) > maxColumns {
		return nil, protocolError("%d columns asked for", len(list))
	}
	out := make([]int, len(list))
	for i, c := range list {
		if int64(c) >= int64(len(r.spec.Columns)) {
			return nil, protocolError("column index %d of %d columns", c, len(r.spec.Columns))
		}
		out[i] = int(c)
	}
	return out, nil
}
