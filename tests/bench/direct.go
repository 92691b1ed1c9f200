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

// direct is the process that posts.
type direct struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startDirect runs this program again, as the one that posts to url.
func startDirect(ctx context.Context, url, token string) (*direct, error) {
	return startProcess(ctx, directURL+"="+url, directToken+"="+token)
}

// startProcess runs this program again, as what the environment makes of it.
func startProcess(ctx context.Context, environ ...string) (*direct, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	d := &direct{cmd: exec.CommandContext(ctx, self)}
	d.cmd.Env = append(os.Environ(), environ...)
	d.cmd.Stderr = os.Stderr
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("starting the direct client: %w", err)
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the direct client: %w", err)
	}
	d.out = bufio.NewReader(out)
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the direct client: %w", err)
	}
	return d, nil
}

// post has what line says posted and returns how long that took, in milliseconds.
func (d *direct) post(line string) (float64, error) {
	if _, err := fmt.Fprintln(d.in, line); err != nil {
		return 0, fmt.Errorf("asking the direct client: %w", err)
	}
	text, err := d.out.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("reading the direct client's figure: %w", err)
	}
	ns, err := strconv.ParseInt(text[:len(text)-1], 10, 64)
	return ms(time.Duration(ns)), err
}

func (d *direct) close() error {
	return errors.Join(d.in.Close(), d.cmd.Wait())
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
