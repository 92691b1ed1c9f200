// PocketBase, the real API server of the tests.

package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// PocketBase is a running server with the CRM in it.
type PocketBase struct {
	*Process
	// URL without a slash at the end.
	URL string
	// User and Password of a superuser.
	User, Password string

	token string
	argv  []string // after the address
	bin   string
	env   *Env
	dir   string
}

// StartPocketBase starts a server with so many contacts. It ends with the Env.
func (e *Env) StartPocketBase(contacts int) (*PocketBase, error) {
	bin, err := e.Build("POCKETBASE_BIN", "pocketbase", filepath.Join(e.Root, "tests", "pocketbase"), ".")
	if err != nil {
		return nil, err
	}
	dir, err := e.Mkdir("pb")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "address")
	p := &PocketBase{User: "admin@hallway.example", Password: "admin-password", bin: bin, env: e, dir: dir,
		argv: []string{"-dir", filepath.Join(dir, "data"), "-contacts", fmt.Sprint(contacts), "-address-file", file}}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	if err := p.start(fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		return nil, err
	}
	e.Defer(func() { _ = p.Stop(syscall.SIGTERM, 30*time.Second) })
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	p.URL = "http://" + strings.TrimSpace(string(b))
	var auth struct{ Token string }
	err = p.Call("POST", "/api/collections/_superusers/auth-with-password",
		map[string]string{"identity": p.User, "password": p.Password}, &auth)
	p.token = auth.Token
	return p, err
}

// start runs the server and waits until it has said where it listens.
func (p *PocketBase) start(address string) (err error) {
	file := p.argv[len(p.argv)-1]
	_ = os.Remove(file)
	p.Process, err = p.env.Spawn("pocketbase", p.dir, filepath.Join(p.dir, "pocketbase.log"), nil, syscall.SIGKILL,
		append([]string{p.bin, "-http", address}, p.argv...)...)
	if err != nil {
		return err
	}
	return p.wait(3*time.Minute, func() error {
		_, err := os.Stat(file)
		return err
	})
}

// Restart starts a server that has ended, on the same data and address.
func (p *PocketBase) Restart() error { return p.start(strings.TrimPrefix(p.URL, "http://")) }

// Call is a request of the superuser, past Hallway. in and out may be nil.
func (p *PocketBase) Call(method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, p.URL+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if p.token != "" {
		req.Header.Set("Authorization", p.token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, b)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}
