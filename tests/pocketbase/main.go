// Command pocketbase is a PocketBase server that holds a small CRM: the real
// API that the demo, the tests and the benchmarks talk to.
//
// This file reads the flags and serves. What the CRM looks like is in
// schema.go, what it holds in seed.go. README.md beside it is its manual.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
	_ "github.com/pocketbase/pocketbase/migrations" // PocketBase's own tables
)

// options are the command's flags.
type options struct {
	http        string
	dir         string
	contacts    int
	rateLimit   int
	addressFile string
}

func main() {
	var o options
	flag.StringVar(&o.http, "http", "127.0.0.1:8090", "`address` to serve on; port 0 takes a free one")
	flag.StringVar(&o.dir, "dir", "", "`directory` of the data; made and filled if it is not there, kept afterwards (default: a temporary one, removed at the end)")
	flag.IntVar(&o.contacts, "contacts", 5000, "`number` of contacts to make, with a company for 25 of them and a deal for 2")
	flag.IntVar(&o.rateLimit, "rate-limit", 0, "requests in 10 seconds before the API answers 429; 0: no limit")
	flag.StringVar(&o.addressFile, "address-file", "", "`file` that gets the address (host:port) once the server answers")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "pocketbase: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(o); err != nil {
		fmt.Fprintf(os.Stderr, "pocketbase: %v\n", err)
		os.Exit(1)
	}
}

func run(o options) error {
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "hallway-crm-")
		if err != nil {
			return fmt.Errorf("making a temporary directory: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		o.dir = dir
	}
	start := time.Now()
	seeded, err := prepare(o.dir, o.contacts)
	if err != nil {
		return err
	}
	app, err := open(o.dir)
	if err != nil {
		return err
	}
	if err := limitRate(app, o.rateLimit); err != nil {
		return err
	}

	// Listening comes before the word that we do, so that whoever waits for it
	// can connect at once.
	listener, err := net.Listen("tcp", o.http)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	address := listener.Addr().String()
	app.OnServe().BindFunc(func(e *core.ServeEvent) error {
		e.Listener = listener
		e.InstallerFunc = nil
		if err := e.Next(); err != nil {
			return err
		}
		announce(o, address, seeded, time.Since(start))
		if o.addressFile != "" {
			return writeFile(o.addressFile, address, 0o644)
		}
		return nil
	})

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stop
		event := &core.TerminateEvent{App: app}
		if err := app.OnTerminate().Trigger(event, func(e *core.TerminateEvent) error {
			return e.App.ResetBootstrapState()
		}); err != nil {
			slog.Error("stopping", "error", err)
		}
	}()
	if err := apis.Serve(app, apis.ServeConfig{HttpAddr: address}); err != nil {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

// open bootstraps PocketBase on dir. Its log is kept off, as nobody reads it.
func open(dir string) (*core.BaseApp, error) {
	app := core.NewBaseApp(core.BaseAppConfig{DataDir: dir})
	if err := app.Bootstrap(); err != nil {
		return nil, fmt.Errorf("opening %s: %w", dir, err)
	}
	return app, nil
}

// limitRate makes the API answer 429 after n requests in 10 seconds.
func limitRate(app core.App, n int) error {
	s := app.Settings()
	s.RateLimits.Enabled = n > 0
	s.RateLimits.Rules = nil
	if n > 0 {
		s.RateLimits.Rules = []core.RateLimitRule{{Label: "/api/", Duration: 10, MaxRequests: n}}
	}
	if err := app.Save(s); err != nil {
		return fmt.Errorf("setting the rate limit: %w", err)
	}
	return nil
}

func announce(o options, address string, seeded bool, took time.Duration) {
	how := "found"
	if seeded {
		how = "made"
	}
	fmt.Printf("data %s in %s, up after %s\n", how, o.dir, took.Round(time.Millisecond))
	for _, a := range accounts {
		fmt.Printf("account %s password %s token-file %s (%s)\n",
			a.email, a.password, filepath.Join(o.dir, tokensDir, a.name), a.what)
	}
	fmt.Printf("ready http://%s\n", address)
}

// writeFile writes by rename, so that a reader never sees half of it.
func writeFile(path, text string, mode os.FileMode) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(text), mode); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(tmp))
	}
	return nil
}
