// Relations: a definition taken apart once, its identity, and its credential
// with what a secret adds.

package bridge

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"google.golang.org/protobuf/proto"

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
	policy    cachePolicy
	serverKey [32]byte // identity of the server without a credential
	table     [32]byte // identity of spec
	shape     uint64   // of the columns' types, for stale plans

	// pace of writes: what a row took last, in nanoseconds; 0: not known.
	pace atomic.Int64

	mu       sync.Mutex
	key      [32]byte // identity of the source
	resolved connectors.ServerSpec
	checked  time.Time // when the secret was read

	// lately is what knownAt said last.
	lately atomic.Pointer[knownTable]
}

// relations keeps one relation for equal definitions, so that 200 backends with
// the same tables hold them once. It keeps none alive.
type relations struct {
	mu    sync.Mutex
	known map[[32]byte]weak.Pointer[relation]
}

// intern finds or makes the relation of a definition.
func (rs *relations) intern(def *hallwayv1.Relation) (*relation, error) {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(def)
	if err != nil {
		return nil, protocolError("the relation cannot be read: %v", err)
	}
	key := sha256.Sum256(text)
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r := rs.known[key].Value(); r != nil {
		return r, nil
	}
	r, err := newRelation(def)
	if err != nil {
		return nil, err
	}
	if rs.known == nil {
		rs.known = map[[32]byte]weak.Pointer[relation]{}
	}
	rs.known[key] = weak.Make(r)
	runtime.AddCleanup(r, rs.forget, key)
	return r, nil
}

// forget drops an entry whose relation nobody holds any more.
func (rs *relations) forget(key [32]byte) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.known[key].Value() == nil {
		delete(rs.known, key)
	}
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
	withoutPolicy(r.server.Options)
	r.secret = r.server.Credential["secret"]
	delete(r.server.Credential, "secret")
	r.spec = connectors.TableSpec{Schema: def.GetSchemaName(), Name: def.GetTableName(),
		Columns: make([]connectors.ColumnSpec, len(def.GetColumns()))}
	if r.spec.Options, err = optionMap(def.GetTableOptions()); err != nil {
		return nil, err
	}
	withoutPolicy(r.spec.Options)
	r.policy = policyOf(def)
	server := newDigest()
	server.text(r.connector, r.server.Name)
	server.options(r.server.Options)
	r.serverKey = server.sum()
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
		var err error
		if out.Credential, err = WithSecret(s.cfg.Secrets, spec, r.secret, r.server.Credential); err != nil {
			return out, r.key, err
		}
	}
	d := newDigest()
	d.text(r.connector, out.Name)
	d.options(out.Options)
	d.options(out.Credential)
	r.resolved, r.key, r.checked = out, d.sum(), time.Now()
	return out, r.key, nil
}

// WithSecret is a user mapping's options with those that the secret of that name
// stands for; what the mapping says itself wins. store is nil if there is none.
func WithSecret(store Secrets, c connectors.Connector, name string, own map[string]string) (map[string]string, error) {
	if store == nil {
		return nil, &connectors.Error{Class: connectors.InvalidOptionValue,
			Message: fmt.Sprintf("secret %q cannot be found: this sidecar has no secret store", name),
			Hint:    "Set secrets or secrets_env in the sidecar's settings."}
	}
	values, err := store.Lookup(name)
	if err != nil {
		return nil, &connectors.Error{Class: connectors.InvalidOptionValue, Message: err.Error(),
			Hint: "The sidecar's administrator can run \"hallway check\"."}
	}
	out := maps.Clone(own)
	for option, v := range values {
		if option == "" {
			if option, err = bareSecretOption(c, name); err != nil {
				return nil, err
			}
		}
		if _, given := own[option]; !given {
			out[option] = v
		}
	}
	return out, nil
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
