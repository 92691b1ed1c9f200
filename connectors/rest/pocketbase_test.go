package rest

// Tests against a real PocketBase: a collection with every trap that its
// filters, its sorting and its errors have.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

const (
	pbUser     = "admin@hallway.example"
	pbPassword = "admin-password"
)

// pocketbase is a running server; one serves all tests of the package.
type pocketbase struct {
	url, token string
	cmd        *exec.Cmd
	dir        string
}

var pb struct {
	once   sync.Once
	server *pocketbase
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if pb.server != nil {
		pb.server.stop()
	}
	os.Exit(code)
}

// startPocketBase starts the binary that HALLWAY_POCKETBASE names, or builds
// that of tests/pocketbase.
func startPocketBase(t *testing.T) *pocketbase {
	t.Helper()
	if testing.Short() {
		t.Skip("PocketBase takes a while to build")
	}
	pb.once.Do(func() { pb.server, pb.err = newPocketBase() })
	if pb.err != nil {
		t.Fatalf("starting PocketBase: %v", pb.err)
	}
	return pb.server
}

func newPocketBase() (*pocketbase, error) {
	dir, err := os.MkdirTemp("", "hallway-pocketbase-")
	if err != nil {
		return nil, err
	}
	p := &pocketbase{dir: dir}
	bin := os.Getenv("HALLWAY_POCKETBASE")
	if bin == "" {
		bin = filepath.Join(dir, "pocketbase")
		build := exec.Command("go", "build", "-o", bin, ".")
		build.Dir = filepath.Join("..", "..", "tests", "pocketbase")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building tests/pocketbase: %w\n%s", err, out)
		}
	}
	address := filepath.Join(dir, "address")
	p.cmd = exec.Command(bin, "--http", "127.0.0.1:0", "--dir", filepath.Join(dir, "data"), "--address-file", address)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(60 * time.Second); p.url == ""; time.Sleep(20 * time.Millisecond) {
		if text, err := os.ReadFile(address); err == nil && len(text) > 0 {
			p.url = "http://" + strings.TrimSpace(string(text))
		} else if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("waiting for PocketBase: %w\n%s", err, text)
		}
	}
	var answer struct{ Token string }
	status, body := p.call("POST", "/api/collections/_superusers/auth-with-password",
		map[string]any{"identity": pbUser, "password": pbPassword})
	if err := json.Unmarshal(body, &answer); err != nil || status != 200 {
		return nil, fmt.Errorf("logging in: status %d: %s", status, body)
	}
	p.token = answer.Token
	return p, nil
}

func (p *pocketbase) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	_ = os.RemoveAll(p.dir)
}

func (p *pocketbase) call(method, path string, body any) (int, []byte) {
	var r io.Reader
	if body != nil {
		text, _ := json.Marshal(body)
		r = bytes.NewReader(text)
	}
	req, _ := http.NewRequest(method, p.url+path, r)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", p.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, text
}

func (p *pocketbase) must(t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	status, text := p.call(method, path, body)
	if status < 200 || status > 299 {
		t.Fatalf("%s %s: status %d: %s", method, path, status, text)
	}
	out := map[string]any{}
	_ = json.Unmarshal(text, &out)
	return out
}

// exampleManifest is examples/pocketbase.yaml with other objects.
func exampleManifest(t *testing.T, objects string) []byte {
	t.Helper()
	text, err := os.ReadFile("../../examples/pocketbase.yaml")
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(text), "\nobjects:\n")
	if !ok {
		t.Fatal("no objects in the example")
	}
	return []byte(head + "\nobjects:\n" + objects)
}

func testEnv(manifest []byte) connectors.Env {
	return connectors.Env{
		Log:              slog.New(slog.DiscardHandler),
		Manifests:        fstest.MapFS{"m.yaml": {Data: manifest}},
		AllowHosts:       []string{"127.0.0.1"},
		MaxResponseBytes: 32 << 20,
		UserAgent:        "hallway-test",
	}
}

func openSource(t *testing.T, manifest []byte, url string, credential map[string]string, options ...string) *source {
	t.Helper()
	opts := map[string]string{"manifest": "m.yaml", "base_url": url}
	for i := 0; i < len(options); i += 2 {
		opts[options[i]] = options[i+1]
	}
	src, err := New().Open(context.Background(), testEnv(manifest), connectors.ServerSpec{
		Name: "crm", Options: opts, Credential: credential})
	if err != nil {
		t.Fatalf("opening: %v", err)
	}
	t.Cleanup(func() { _ = src.Close() })
	return src.(*source)
}

// columnsOf makes a table's columns from the manifest, as an import would.
func columnsOf(o *Object) []connectors.ColumnSpec {
	var cols []connectors.ColumnSpec
	for i := range o.Fields {
		cols = append(cols, connectors.ColumnSpec{Name: o.Fields[i].Name, Type: naturalType(&o.Fields[i])})
	}
	return cols
}

func openTable(t *testing.T, src *source, object string) *table {
	t.Helper()
	tab, err := src.Table(context.Background(), connectors.TableSpec{Name: object, Columns: columnsOf(src.m.object(object))})
	if err != nil {
		t.Fatalf("binding %s: %v", object, err)
	}
	return tab.(*table)
}

// scanRows runs a scan and gives the rows as values.
func scanRows(t *testing.T, tab *table, q connectors.Query) ([][]pushdown.Value, error) {
	t.Helper()
	types := make([]pushdown.Type, len(q.Columns))
	for i, c := range q.Columns {
		types[i] = tab.columns[c].spec.Type
	}
	var out [][]pushdown.Value
	b := rows.NewBuilder(types, func(tuples []byte, n int) error {
		got, err := rows.DecodeTuples(types, tuples, n)
		out = append(out, got...)
		return err
	}, rows.Options{})
	if q.Stats == nil {
		q.Stats = &connectors.Stats{}
	}
	_, err := tab.Scan(context.Background(), q, b)
	return out, err
}

func decode(t *testing.T, p *pocketbase, method, path string, body, into any) {
	t.Helper()
	status, text := p.call(method, path, body)
	if err := json.Unmarshal(text, into); err != nil || status > 299 {
		t.Fatalf("%s %s: status %d: %s", method, path, status, text)
	}
}
