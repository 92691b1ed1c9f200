// The POST that an INSERT makes, made directly. A process of its own makes it,
// as an application would: a client in the API's process, which is this one,
// would save the system's switch between the two.

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
	"os"
	"os/exec"
	"strconv"
	"time"
)

const (
	directURL   = "BENCH_DIRECT_URL"
	directToken = "BENCH_DIRECT_TOKEN"
)

// process is one that answers each line, or byte, that it is sent.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startDirect runs this program again, as the one that posts to url.
func startDirect(ctx context.Context, url, token string) (*process, error) {
	return startSelf(ctx, directURL+"="+url, directToken+"="+token)
}

// startSelf runs this program again, as what the environment makes of it.
func startSelf(ctx context.Context, environ ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), environ...)
	return startProcess(cmd)
}

// startProcess starts cmd with its input and output held here.
func startProcess(cmd *exec.Cmd) (p *process, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("starting %s: %w", cmd.Path, err)
		}
	}()
	p = &process{cmd: cmd}
	cmd.Stderr = os.Stderr
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	return p, cmd.Start()
}

// post has what line says posted and returns how long that took, in milliseconds.
func (p *process) post(line string) (float64, error) {
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		return 0, fmt.Errorf("asking the direct client: %w", err)
	}
	text, err := p.out.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("reading the direct client's figure: %w", err)
	}
	ns, err := strconv.ParseInt(text[:len(text)-1], 10, 64)
	return ms(time.Duration(ns)), err
}

func (p *process) close() error {
	return errors.Join(p.in.Close(), p.cmd.Wait())
}

// postEach is the other process: a line in is an address to post, a line out
// the nanoseconds that it took.
func postEach(ctx context.Context, url, token string) error {
	client := &http.Client{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		start := time.Now()
		if err := post(ctx, client, url, token, lines.Text()); err != nil {
			return err
		}
		fmt.Println(time.Since(start).Nanoseconds())
	}
	return lines.Err()
}

func post(ctx context.Context, client *http.Client, url, token, email string) error {
	body, err := json.Marshal(map[string]string{"email": email, "name": "Bench"})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	var out struct{ ID string }
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}
