// The connector: its options, and opening a server with a manifest.

package rest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// Connector is the value of the option: connector 'rest', or that of a Vendor.
type Connector struct {
	vendor   *Vendor // nil: rest itself
	manifest *Manifest
	// sharing has the limits that the credentials of a server share.
	sharing transport.Sharing
}

// New makes the connector.
func New() *Connector { return &Connector{} }

// Name is "rest", or the vendor's.
func (c *Connector) Name() string {
	if c.vendor != nil {
		return c.vendor.Name
	}
	return "rest"
}

// Options of servers, user mappings and tables; a manifest may add server
// options of its own.
func (c *Connector) Options() []connectors.OptionSpec {
	specs := append(serverOptions(),
		connectors.OptionSpec{Name: "user", Where: connectors.OnUserMapping, Help: "User or e-mail address; for manifests with auth basic or login."},
		connectors.OptionSpec{Name: "password", Where: connectors.OnUserMapping, Secret: true, Help: "Its password."},
		connectors.OptionSpec{Name: "token", Where: connectors.OnUserMapping, Secret: true, Help: "Token; for auth bearer."},
		connectors.OptionSpec{Name: "api_key", Where: connectors.OnUserMapping, Secret: true, Help: "Key; for auth header and query."},
		connectors.OptionSpec{Name: "client_id", Where: connectors.OnUserMapping, Help: "OAuth2 client; for auth client_credentials and oauth2."},
		connectors.OptionSpec{Name: "client_secret", Where: connectors.OnUserMapping, Secret: true, Help: "Its secret."},
		connectors.OptionSpec{Name: "refresh_token", Where: connectors.OnUserMapping, Secret: true, Help: "OAuth2 refresh token. What the API gives in its place is kept by the sidecar."},
		connectors.OptionSpec{Name: "private_key", Where: connectors.OnUserMapping, Secret: true, Help: "RSA key in PEM that signs assertions; the user they are for is the option user."},
		connectors.OptionSpec{Name: "key_id", Where: connectors.OnUserMapping, Help: "Name of that key in the API, if it wants one."},
		connectors.OptionSpec{Name: "page_size", Where: connectors.OnTable, Help: "Records to ask for at once, as the server option."},
	)
	if c.vendor == nil || c.manifest.hasJobs() {
		specs = append(specs, scanJobs().specs()...)
	}
	if c.vendor == nil || c.manifest.Load != nil {
		specs = append(specs, loadJobs().specs()...)
	}
	if c.vendor == nil || len(c.manifest.Limits.Budget) > 0 {
		specs = append(specs, reserveOption())
	}
	if c.vendor == nil {
		return append(specs, (*Auth)(nil).scopeOptions()...)
	}
	specs = append(specs, c.manifest.Auth.scopeOptions()...)
	specs = slices.DeleteFunc(specs, func(o connectors.OptionSpec) bool {
		return o.Name == "manifest" || (o.Where == connectors.OnUserMapping && !c.manifest.Auth.takes(o.Name))
	})
	return append(append(specs, c.manifest.optionSpecs()...), c.vendor.Options...)
}

// optionSpecs are the server options that the manifest adds.
func (m *Manifest) optionSpecs() []connectors.OptionSpec {
	specs := make([]connectors.OptionSpec, len(m.Options))
	for i, o := range m.Options {
		specs[i] = connectors.OptionSpec{Name: o.Name, Where: connectors.OnServer, Required: o.Required, Default: o.Default, Help: o.Help}
	}
	return specs
}

func serverOptions() []connectors.OptionSpec {
	return []connectors.OptionSpec{
		{Name: "manifest", Where: connectors.OnServer, Required: true, Help: "File name of the manifest among those of the sidecar."},
		{Name: "base_url", Where: connectors.OnServer, Help: "Where the API is, in place of the manifest's base_url. The sidecar's allow_hosts must let it."},
		{Name: "page_size", Where: connectors.OnServer, Help: "Records to ask for at once; from 1 to the manifest's read.page_size.max."},
		{Name: "calls_per_second", Where: connectors.OnServer, Help: "Most calls a second on average; by default the manifest's limits.per_second."},
		{Name: "limits_shared", Where: connectors.OnServer, Help: "Whose the limits on calls are: server, where all user mappings lead to one account, or credential, where each has an account of its own; by default the manifest's limits.shared."},
		{Name: "max_calls", Where: connectors.OnServer, Help: "Most calls that one statement may make to read and write rows, retries among them. One that is known to need more is refused (53400) before it makes them. By default nothing bounds them."},
		{Name: "lockout_seconds", Where: connectors.OnServer, Help: "How long to wait after an answer 429 that does not say, from 0 to 3600; by default the manifest's limits.lockout_seconds, else a second and then longer."},
		{Name: "parallel", Where: connectors.OnServer, Help: "Most requests of one scan under way at once, from 1 to 32; by default the manifest's limits.parallel, else 1."},
		{Name: "timeout_seconds", Where: connectors.OnServer, Help: "How long to wait for an answer to begin, from 1 to 3600; by default the manifest's, else 30."},
	}
}

// Load reads a manifest of the sidecar.
func Load(files fs.FS, name string) (*Manifest, error) {
	invalid := func(e *connectors.Error) error {
		e.Class = connectors.InvalidOptionValue
		return e
	}
	if files == nil {
		return nil, invalid(&connectors.Error{Message: "the sidecar has no manifests", Hint: "Set its manifests directory."})
	}
	if !fs.ValidPath(name) {
		return nil, invalid(&connectors.Error{Message: fmt.Sprintf("manifest %q is not a plain file name", name),
			Hint: "Name a file in the sidecar's manifests directory."})
	}
	text, err := fs.ReadFile(files, name)
	if err != nil {
		e := &connectors.Error{Message: fmt.Sprintf("there is no manifest %q", name), Err: err, Hint: "The sidecar's manifests directory has none."}
		if list, _ := fs.Glob(files, "*.y*ml"); len(list) > 0 {
			e.Hint = "Manifests of this sidecar: " + strings.Join(list, ", ") + "."
		}
		if !errors.Is(err, fs.ErrNotExist) {
			e.Message = fmt.Sprintf("could not read manifest %q", name)
		}
		return nil, invalid(e)
	}
	m, err := Parse(name, text)
	var bad *ManifestError
	if errors.As(err, &bad) {
		e := &connectors.Error{Message: bad.Error(), Hint: "The manifest is read anew by the next query."}
		var more []string
		for _, p := range bad.Problems[1:min(len(bad.Problems), 10)] {
			more = append(more, fmt.Sprintf("Line %d: %s", p.Line, p))
		}
		e.Detail = strings.Join(more, "\n")
		return nil, invalid(e)
	}
	return m, err
}

// Open reads the manifest and prepares the HTTP client.
func (c *Connector) Open(_ context.Context, env connectors.Env, server connectors.ServerSpec) (connectors.Source, error) {
	m, specs := c.manifest, c.Options()
	if c.vendor == nil {
		name := server.Options["manifest"]
		if name == "" {
			// Without it nobody knows which other options there are.
			return nil, connectors.CheckOptions(specs, connectors.OnServer, fmt.Sprintf("server %q", server.Name), nil)
		}
		var err error
		if m, err = Load(env.Manifests, name); err != nil {
			return nil, err
		}
		specs = append(specs, m.optionSpecs()...)
	}
	if err := connectors.CheckOptions(specs, connectors.OnServer, fmt.Sprintf("server %q", server.Name), server.Options); err != nil {
		return nil, err
	}
	if err := connectors.CheckOptions(specs, connectors.OnUserMapping, "", server.Credential); err != nil {
		return nil, err
	}
	if c.vendor != nil && c.vendor.Adapt != nil {
		var err error
		if m, err = parse(m.File, c.vendor.Manifest, true); err != nil {
			return nil, err
		}
		if err := c.vendor.Adapt(server, m); err != nil {
			return nil, err
		}
	}
	s := newSource(m, server.Name, specs)
	values := map[string]string{}
	for _, o := range m.Options {
		values[o.Name] = o.Default
		if v, ok := server.Options[o.Name]; ok {
			values[o.Name] = v
		}
	}
	cfg, err := s.config(server, values)
	if err != nil {
		return nil, err
	}
	if shared, err := m.Limits.shared(server.Options); err != nil {
		return nil, err
	} else if shared {
		cfg.Sharing, cfg.ShareKey = &c.sharing, shareKey(server)
	}
	if s.client, err = transport.New(env, cfg); err != nil {
		return nil, err
	}
	if c.vendor != nil && c.vendor.Open != nil {
		if s.hooks, err = c.vendor.Open(&API{Manifest: m, Client: s.client, Server: server, src: s}); err != nil {
			return nil, err
		}
	}
	for i := range m.Ways {
		w := newSource(m.wayManifest(&m.Ways[i]), server.Name, specs)
		w.quoter.segment = strings.Contains(m.Ways[i].Path, "{filter}")
		w.client, w.hooks, w.check, w.way, w.parallel, w.errands = s.client, s.hooks, s.check, m.Ways[i].Name, s.parallel, s.errands
		if w.pageSize = w.m.Read.PageSize.Default; m.Ways[i].Read == nil {
			w.pageSize = s.pageSize
		}
		s.ways = append(s.ways, w)
	}
	return s, nil
}

// newSource makes a source that has no client yet.
func newSource(m *Manifest, server string, options []connectors.OptionSpec) *source {
	s := &source{m: m, server: server, options: options, errands: &errands{}}
	if m.Filter != nil {
		s.quoter = newQuoter(&m.Filter.Literals)
	}
	return s
}

func (s *source) config(server connectors.ServerSpec, values map[string]string) (transport.Config, error) {
	m := s.m
	cfg := transport.Config{API: m.Name, BaseURL: fill(m.BaseURL, values), Header: http.Header{}}
	if u := server.Options["base_url"]; u != "" {
		cfg.BaseURL = u
	}
	if cfg.BaseURL == "" {
		return cfg, &connectors.Error{Class: connectors.InvalidOption, API: m.Name,
			Message: fmt.Sprintf("option \"base_url\" is required for server %q", server.Name),
			Hint:    fmt.Sprintf("The manifest %q does not say where the API is.", m.File)}
	}
	for _, h := range m.Headers {
		cfg.Header.Set(h.Name, fill(h.Value, values))
	}
	perSecond, lockout, timeout := m.Limits.PerSecond, m.Limits.LockoutSeconds, m.Limits.TimeoutSeconds
	s.pageSize, s.parallel = m.Read.PageSize.Default, m.Limits.Parallel
	var bad error
	s.bulk, bad = scanJobs().over(bulk{mode: bulkAuto}, server.Options)
	var badLoads error
	s.loads, badLoads = loadJobs().over(bulk{mode: bulkAuto}, server.Options)
	if err := errors.Join(bad, badLoads,
		optionNumber(server.Options, "page_size", 1, float64(max(m.Read.PageSize.Max, 1)), func(f float64) { s.pageSize = int(f) }),
		optionNumber(server.Options, "calls_per_second", 0.001, 1e6, func(f float64) { perSecond = f }),
		optionNumber(server.Options, "max_calls", 1, 1e9, func(f float64) { cfg.MaxCalls = uint64(f) }),
		optionNumber(server.Options, "lockout_seconds", 0, 3600, func(f float64) { lockout = f }),
		optionNumber(server.Options, "parallel", 1, 32, func(f float64) { s.parallel = int(f) }),
		optionNumber(server.Options, "timeout_seconds", 1, 3600, func(f float64) { timeout = int(f) }),
	); err != nil {
		var e *connectors.Error
		errors.As(err, &e)
		return cfg, e
	}
	var err error
	cfg.Limits = map[string]transport.Limit{}
	if perSecond > 0 {
		cfg.Limits[""] = transport.Limit{PerSecond: perSecond, Burst: max(m.Limits.Burst, 1)}
	}
	for _, l := range m.Limits.Classes {
		cfg.Limits[l.Name] = transport.Limit{PerSecond: l.PerSecond, Burst: max(l.Burst, 1)}
	}
	cfg.RateHeaders = transport.RateHeaders{Remaining: m.Limits.RemainingHeader, Reset: m.Limits.ResetHeader, IntervalMillis: m.Limits.IntervalHeader}
	if cfg.Budget, err = m.Limits.budget(server.Options["api_reserve"]); err != nil {
		return cfg, err
	}
	cfg.Lockout = time.Duration(lockout * float64(time.Second))
	if m.Limits.Waits != nil {
		cfg.Waits = s.waits
	}
	if slices.ContainsFunc(m.Errors.Codes, func(p Pair) bool { return p.Value == "rate_limited" }) {
		cfg.Limited = func(status int, header http.Header, body []byte) bool {
			_, code, _ := s.said(status, header, body)
			class, ok := m.Errors.class(code)
			return ok && class == connectors.RateLimited
		}
	}
	cfg.Timeout = time.Duration(timeout) * time.Second
	if m.Auth.Check != nil {
		s.check = fill(m.Auth.Check.Path, values)
	}
	scoped, err := m.Auth.withScopes(server.Options)
	if err != nil {
		return cfg, err
	}
	s.optional = scoped.OptionalScopes
	cfg.Auth, err = auth(scoped, values, m.Name, server)
	return cfg, err
}

// waits is for how long to wait after a refusal, by its code.
func (s *source) waits(status int, header http.Header, body []byte) (time.Duration, bool) {
	_, code, _ := s.said(status, header, body)
	for _, p := range s.m.Limits.Waits {
		if p.Name == code {
			seconds, err := strconv.ParseFloat(p.Value, 64)
			return time.Duration(seconds * float64(time.Second)), err == nil
		}
	}
	return 0, false
}

// optionNumber calls set with the option's value, if there is one.
func optionNumber(options map[string]string, name string, low, high float64, set func(float64)) error {
	text, ok := options[name]
	if !ok {
		return nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= low && f <= high) || (!fractional[name] && f != float64(int(f))) {
		return &connectors.Error{Class: connectors.InvalidOptionValue,
			Message: fmt.Sprintf("invalid value for option %q: %q", name, text),
			Hint:    fmt.Sprintf("It is a number from %g to %g.", low, high)}
	}
	set(f)
	return nil
}

// fractional are the options that take a fraction.
var fractional = map[string]bool{"calls_per_second": true, "lockout_seconds": true}

// fill replaces {name} by its value.
func fill(text string, values map[string]string) string {
	if !strings.Contains(text, "{") {
		return text
	}
	for n, v := range values {
		text = strings.ReplaceAll(text, "{"+n+"}", v)
	}
	return text
}

// source is a server with a credential.
type source struct {
	m       *Manifest
	server  string
	options []connectors.OptionSpec
	hooks   Hooks
	catalog catalog
	// ways are the same server as the further ways see it; way is the name of one
	// that is such.
	ways     []*source
	sent     sentBodies
	way      string
	optional *OptionalScopes // what hallway auth asks for; nil: no such
	client   *transport.Client
	quoter   quoter
	pageSize int
	bulk     bulk
	loads    bulk
	errands  *errands
	parallel int // requests of one scan under way at once; 0: one
	// check is the path of auth.check; empty: none. checked is when it last
	// succeeded, in Unix nanoseconds.
	check   string
	checked atomic.Int64
}

// Close gives up the connections.
func (s *source) Close() error {
	s.errands.wait()
	s.client.Close()
	return nil
}

// Limited reports whether the manifest, or an option, limits calls.
func (s *source) Limited() bool { return s.client.Limited() }

// SetShare says which part of the limits is this sidecar's.
func (s *source) SetShare(share float64) { s.client.SetShare(share) }

func (s *source) filterLists() int {
	if s.m.Filter == nil {
		return 0
	}
	return s.m.Filter.MaxList
}
