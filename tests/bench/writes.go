// Writes of many rows into a real API, and what the journal costs.

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hallwaydb/hallway/tests/harness"
)

const (
	// bulkCall is what one request to PocketBase takes, bulkRows what a
	// measurement writes, copyRows what is counted.
	bulkCall = 50
	bulkRows = 2000
	copyRows = 10_000

	contactsPath = "/api/collections/contacts/records"
	batchPath    = "/api/batch"
)

// bulk is PocketBase, and how it is written to.
type bulk struct {
	pb      *harness.PocketBase
	token   string
	counted *httptest.Server
	writes  atomic.Int64
	next    int // rows that were made
	durable *session
}

// prepareBulk starts the API. One server calls it as it is, another one through a
// proxy that counts.
func (s *session) prepareBulk(ctx context.Context) error {
	b := &bulk{}
	s.bulk = b
	var err error
	if b.pb, err = s.env.StartPocketBase(1); err != nil {
		return err
	}
	var auth struct{ Token string }
	err = b.pb.Call("POST", "/api/collections/_superusers/auth-with-password", map[string]string{"identity": b.pb.User, "password": b.pb.Password}, &auth)
	if err != nil {
		return err
	}
	b.token = auth.Token
	u, err := url.Parse(b.pb.URL)
	if err != nil {
		return fmt.Errorf("reading PocketBase's address: %w", err)
	}
	proxy := httputil.NewSingleHostReverseProxy(u)
	b.counted = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "/auth-") {
			b.writes.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	const columns = "(email text, last_name text, status text, score int8)"
	for name, base := range map[string]string{"crm": b.pb.URL, "counted": b.counted.URL} {
		if _, err := s.exec(ctx, fmt.Sprintf(`CREATE SERVER %[1]s FOREIGN DATA WRAPPER hallway
OPTIONS (connector 'rest', manifest 'pocketbase.yaml', base_url '%[2]s', auth_collection '_superusers', cache 'off');
CREATE USER MAPPING FOR PUBLIC SERVER %[1]s OPTIONS (user '%[3]s', password '%[4]s');
CREATE SCHEMA %[1]s;
CREATE FOREIGN TABLE %[1]s.bulk %[5]s SERVER %[1]s OPTIONS (object 'contacts');
CREATE FOREIGN TABLE %[1]s.unjournaled %[5]s SERVER %[1]s OPTIONS (object 'contacts', journal 'false');
CREATE FOREIGN TABLE %[1]s.upserted (id text, email text, last_name text, status text, score int8) SERVER %[1]s OPTIONS (object 'contacts', upsert_key 'email')`,
			name, base, b.pb.User, b.pb.Password, columns)); err != nil {
			return err
		}
	}
	_, err = s.exec(ctx, fmt.Sprintf("CREATE TABLE people_to_copy AS SELECT 'copied' || i || '@example.com' AS email, 'Name ' || i AS last_name, 'lead' AS status, (i %% 100)::int8 AS score FROM generate_series(1, %d) i", copyRows))
	return err
}

// countWrites has rows copied, and then upserted as they are: what is counted is
// the API's requests that write.
func (s *session) countWrites(ctx context.Context) error {
	var data bytes.Buffer
	if _, err := s.conn.CopyTo(ctx, &data, "COPY people_to_copy TO STDOUT"); err != nil {
		return fmt.Errorf("reading rows to copy: %w", err)
	}
	s.bulk.writes.Store(0)
	tag, err := s.conn.CopyFrom(ctx, &data, "COPY counted.bulk FROM STDIN")
	if err != nil {
		return fmt.Errorf("copying: %s", harness.Describe(err))
	}
	calls := s.bulk.writes.Swap(0)
	if tag.RowsAffected() != copyRows || calls < copyRows/bulkCall {
		return fmt.Errorf("%d rows were copied with %d requests", tag.RowsAffected(), calls)
	}
	s.sample("copy_calls", float64(calls))
	r, err := s.exec(ctx, "INSERT INTO counted.upserted (email, last_name, status, score) SELECT * FROM people_to_copy")
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("INSERT 0 %d", copyRows); r.Tag != want {
		return fmt.Errorf("upserting what is there already is %s, not %s", r.Tag, want)
	}
	s.sample("upsert_calls", float64(s.bulk.writes.Load()))
	return nil
}

// bulkWrites measures rows written by INSERT … SELECT and by a program that makes
// the same requests, in turn.
func (s *session) bulkWrites(ctx context.Context, keep func(string, float64)) error {
	client, err := startSelf(ctx, bulkURL+"="+s.bulk.pb.URL, directToken+"="+s.bulk.token)
	if err != nil {
		return err
	}
	through := func(table, name string) func() error {
		return func() error {
			s.bulk.next++
			start := time.Now()
			r, err := s.exec(ctx, fmt.Sprintf("INSERT INTO crm.%s SELECT 'bulk%d-' || i || '@example.com', 'Name ' || i, 'lead', i %% 100 FROM generate_series(1, %d) i", table, s.bulk.next, bulkRows))
			if err == nil && r.Tag != fmt.Sprintf("INSERT 0 %d", bulkRows) {
				err = fmt.Errorf("%s instead of %d rows", r.Tag, bulkRows)
			}
			keep(name, ms(time.Since(start)))
			return err
		}
	}
	journaled, unjournaled := through("bulk", "bulk_insert"), through("unjournaled", "bulk_unjournaled")
	direct := func() error {
		s.bulk.next++
		took, err := client.post(fmt.Sprintf("bulk%d-", s.bulk.next))
		keep("bulk_direct", took)
		return err
	}
	// Each comes first as often as the other.
	for _, f := range []func() error{journaled, unjournaled, direct, direct, unjournaled, journaled} {
		if err := f(); err != nil {
			return errors.Join(err, client.close())
		}
	}
	return client.close()
}

const bulkURL = "BENCH_BULK_URL"

// postBatches is the other process: a line in is what the addresses begin with, a
// line out the nanoseconds that all the rows took.
func postBatches(ctx context.Context, base, token string) error {
	type entry struct {
		Method string         `json:"method"`
		URL    string         `json:"url"`
		Body   map[string]any `json:"body"`
	}
	client := &http.Client{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		start := time.Now()
		for first := 1; first <= bulkRows; first += bulkCall {
			var body struct {
				Requests []entry `json:"requests"`
			}
			for i := first; i < first+bulkCall; i++ {
				body.Requests = append(body.Requests, entry{"POST", contactsPath, map[string]any{
					"email": fmt.Sprintf("%s%d@example.com", lines.Text(), i), "last_name": fmt.Sprintf("Name %d", i), "status": "lead", "score": i % 100}})
			}
			if err := postBatch(ctx, client, base+batchPath, token, body); err != nil {
				return err
			}
		}
		fmt.Println(time.Since(start).Nanoseconds())
	}
	return lines.Err()
}

func postBatch(ctx context.Context, client *http.Client, to, token string, in any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", token)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	var out []struct {
		Status int
		Body   struct{ ID string }
	}
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		return fmt.Errorf("reading the answer %s: %w", res.Status, err)
	}
	made := 0
	for _, a := range out {
		if a.Status == http.StatusOK && a.Body.ID != "" {
			made++
		}
	}
	if made != bulkCall {
		return fmt.Errorf("a batch was answered %s, and made %d records", res.Status, made)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// prepareDurable starts a cluster whose commits wait for the disk, as those of
// most do.
func (s *session) prepareDurable(ctx context.Context) error {
	env, err := harness.Start(harness.Settings{Postgres: []string{"fsync = on", "synchronous_commit = on", "jit = off"}})
	if err != nil {
		return err
	}
	if s.bulk == nil {
		s.bulk = &bulk{}
	}
	d := &bench{env: env}
	if err := env.Cluster.CreateDatabase(ctx, "bench"); err != nil {
		return err
	}
	if s.bulk.durable, err = d.open(ctx); err != nil {
		return err
	}
	for _, sql := range []string{
		"SET hallway.address = '" + env.Sidecar.Address() + "'",
		"CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', cache 'off')",
		"CREATE USER MAPPING FOR PUBLIC SERVER syn",
		"CREATE FOREIGN TABLE journaled (id int8 OPTIONS (key 'true', computed 'sequence'), email text) SERVER syn OPTIONS (store 'contacts')",
		"CREATE FOREIGN TABLE unjournaled (id int8 OPTIONS (key 'true', computed 'sequence'), email text) SERVER syn OPTIONS (store 'contacts', journal 'false')",
		"CREATE TABLE here (id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text)",
		"PREPARE journaled (text) AS INSERT INTO journaled (email) VALUES ($1)",
		"PREPARE unjournaled (text) AS INSERT INTO unjournaled (email) VALUES ($1)",
		"PREPARE here (text) AS INSERT INTO here (email) VALUES ($1)",
	} {
		if _, err := s.bulk.durable.exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// journal measures one INSERT with and without the journal, and a local one, in
// turn.
func (s *session) journal(ctx context.Context, keep func(string, float64)) error {
	const n = 200
	took := map[string][]float64{}
	for i := range n {
		for _, name := range []string{"here", "unjournaled", "journaled"} {
			start := time.Now()
			if _, err := s.bulk.durable.exec(ctx, fmt.Sprintf("EXECUTE %s ('bench%d@example.com')", name, i)); err != nil {
				return err
			}
			took[name] = append(took[name], ms(time.Since(start)))
		}
	}
	for name, list := range took {
		keep("commit_"+name, middle(list))
	}
	journaled, err := s.bulk.durable.exec(ctx, "SELECT count(*) > 0 FROM hallway.write_log WHERE table_name = 'public.journaled'")
	if err == nil && journaled.Rows[0][0] != "t" {
		err = errors.New("nothing was journaled")
	}
	return err
}

func (b *bulk) close(ctx context.Context) {
	if b == nil {
		return
	}
	if b.counted != nil {
		b.counted.Close()
	}
	if b.durable != nil {
		b.durable.close(ctx)
		b.durable.env.Stop()
	}
}
