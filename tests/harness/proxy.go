// A proxy between backend and sidecar that is as bad as a network can be.

package harness

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Proxy forwards a Unix socket. Its settings may be changed between
// connections.
type Proxy struct {
	Socket string

	mu sync.Mutex
	// chunk bounds what is forwarded at once; 0: as it comes. cutDown and cutUp
	// are bytes towards the backend and the sidecar after which the connection
	// is closed; negative: never.
	chunk          int
	cutDown, cutUp int
	down, up       int
}

// NewProxy makes a proxy in front of a sidecar, for one test.
func (e *Env) NewProxy(t testing.TB, s *Sidecar) *Proxy {
	t.Helper()
	dir, err := e.Mkdir("px")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Socket: filepath.Join(dir, "s"), cutDown: -1, cutUp: -1}
	l, err := net.Listen("unix", p.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := os.Chmod(p.Socket, 0o777); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c, s.Socket)
		}
	}()
	return p
}

// Address is what the server option "address" takes.
func (p *Proxy) Address() string { return "unix:" + p.Socket }

// Set changes how connections made from now on are treated; see the fields.
func (p *Proxy) Set(chunk, cutDown, cutUp int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.chunk, p.cutDown, p.cutUp, p.down, p.up = chunk, cutDown, cutUp, 0, 0
}

// Bytes that went down (to the backend) and up since the last Set.
func (p *Proxy) Bytes() (down, up int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down, p.up
}

func (p *Proxy) serve(backend net.Conn, target string) {
	defer func() { _ = backend.Close() }()
	sidecar, err := net.Dial("unix", target)
	if err != nil {
		return
	}
	defer func() { _ = sidecar.Close() }()
	p.mu.Lock()
	chunk, cutDown, cutUp := p.chunk, p.cutDown, p.cutUp
	p.mu.Unlock()
	done := make(chan struct{}, 2)
	go func() { p.pipe(backend, sidecar, chunk, cutDown, &p.down); done <- struct{}{} }()
	go func() { p.pipe(sidecar, backend, chunk, cutUp, &p.up); done <- struct{}{} }()
	<-done
}

// pipe forwards until an end closes or the cut comes.
func (p *Proxy) pipe(to io.Writer, from io.Reader, chunk, cut int, count *int) {
	buf := make([]byte, 64<<10)
	if chunk > 0 {
		buf = buf[:chunk]
	}
	for sent := 0; ; {
		n, err := from.Read(buf)
		if cut >= 0 && sent+n >= cut {
			n, err = cut-sent, errors.New("cut")
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
			sent += n
			p.mu.Lock()
			*count += n
			p.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}
